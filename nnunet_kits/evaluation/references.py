"""Which label map is scored against which: flat folders, and KiTS folders of any year, on either side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases.finding import case_of, find_label_maps
from nnunet_kits.errors import EvaluationError
from nnunet_kits.releases import release_of


@dataclass(frozen=True)
class Pair:
    """One case: a label map to score and what it is scored against.

    Attributes:
        case: its name, for example ``case_00003``.
        prediction: the label map to score.
        reference: the label map that is taken for true.
        samples: KiTS21's sampled segmentations, over all groups; none where the folder has none.
    """

    case: str
    prediction: Path
    reference: Path
    samples: tuple[Path, ...] = ()


def find_pairs(
    predictions: Path, references: Path, year: str, partly: bool = False, samples: bool = True
) -> list[Pair]:
    """Every reference with its prediction, in the order of the cases' names.

    Args:
        predictions: a folder of ``case_XXXXX.nii.gz``, or a KiTS folder; or one file, then ``references`` is one too.
        references: likewise.
        year: whose label files to look for in case folders.
        partly: leave out references without a prediction.
        samples: look for KiTS21's sampled segmentations.

    Raises:
        EvaluationError: one without the other, or samples of some cases only.
        ImageError: nothing to score, or two label maps of one case.
    """
    if predictions.is_file() or references.is_file():
        return [_single(predictions, references)]
    ours, theirs = find_label_maps(predictions, year), References(references, year)
    missing = [case for case in theirs.files if case not in ours]
    if missing and not partly:
        raise EvaluationError(
            f"{predictions}: no prediction of {_few(missing)}, of which {references} has a reference. "
            "Predict the rest, or pass --partly to score the others."
        )
    without = [case for case in ours if case not in theirs.files]
    if without:
        raise EvaluationError(
            f"{references}: no reference of {_few(without)}, of which {predictions} has a prediction. "
            "Name the folder with the references, or move these predictions away."
        )
    found = [Pair(c, file, theirs.files[c], theirs.samples(c) if samples else ()) for c, file in ours.items()]
    sampled = [pair.case for pair in found if pair.samples]
    if sampled and len(sampled) < len(found):
        lacking = [pair.case for pair in found if not pair.samples]
        folder = theirs.release.samples.partition("/")[0]
        raise EvaluationError(
            f"{references}: no {folder} of {_few(lacking)}, but {len(sampled)} other cases have them. "
            "Sample them with the challenge's own code, or pass --no-samples to score against the majority alone."
        )
    return found


class References:
    """The references of a year below a folder.

    Attributes:
        files: case -> label map, in the order of the names.

    Raises:
        ImageError: as :func:`~nnunet_kits.cases.finding.find_label_maps`.
    """

    def __init__(self, folder: Path, year: str) -> None:
        self.folder, self.release = folder, release_of(year)
        self.files = find_label_maps(folder, year)

    def of(self, case: str) -> Path | None:
        """The reference of a case; None where there is none."""
        return self.files.get(case)

    def samples(self, case: str) -> tuple[Path, ...]:
        """KiTS21's sampled segmentations of a case, over all groups; none where the folder has none."""
        pattern = self.release.samples
        return tuple(sorted(self.files[case].parent.glob(pattern))) if pattern else ()


def _single(prediction: Path, reference: Path) -> Pair:
    """Two files as one case, named by the prediction, or by its folder where the file has no name of its own."""
    for file in (prediction, reference):
        if not file.is_file():
            raise EvaluationError(f"{file}: no such file. Name two label maps, or two folders of them.")
    return Pair(case_of(prediction), prediction, reference)


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more cases"
