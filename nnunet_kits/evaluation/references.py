"""Which label map is scored against which: flat folders, and KiTS folders of any year, on either side."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.errors import EvaluationError
from nnunet_kits.releases import reference_files, release_of

ENDINGS = (".nii.gz", ".nii")
CASE_FOLDER = re.compile(r"case_\d{5}")


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
        EvaluationError: nothing to score, one without the other, or samples of some cases only.
    """
    if predictions.is_file() or references.is_file():
        return [_single(predictions, references)]
    ours, theirs = label_maps(predictions, year), References(references, year)
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
        EvaluationError: as :func:`label_maps`.
    """

    def __init__(self, folder: Path, year: str) -> None:
        self.folder, self.release = folder, release_of(year)
        self.files = label_maps(folder, year)

    def of(self, case: str) -> Path | None:
        """The reference of a case; None where there is none."""
        return self.files.get(case)

    def samples(self, case: str) -> tuple[Path, ...]:
        """KiTS21's sampled segmentations of a case, over all groups; none where the folder has none."""
        pattern = self.release.samples
        return tuple(sorted(self.files[case].parent.glob(pattern))) if pattern else ()


def label_maps(folder: Path, year: str) -> dict[str, Path]:
    """Case -> label map, of a KiTS folder or a flat one, in the order of the names.

    Raises:
        EvaluationError: no such folder, no label map in it, or two of one case.
    """
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such folder. Name a folder of label maps, or a KiTS repository.")
    release = release_of(year)
    label_file = release.label_file(None)
    for below in release.places:
        data = folder / below
        cases = (
            [entry for entry in sorted(data.iterdir()) if CASE_FOLDER.fullmatch(entry.name)] if data.is_dir() else []
        )
        found = {case.name: case / label_file for case in cases if (case / label_file).is_file()}
        if found:
            return found
        if any(case.is_dir() for case in cases):
            raise EvaluationError(
                f"{data}: its case folders hold no {label_file}, the label map of {release.edition}. "
                "Is it another year's folder?"
            )
    flat: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), None)
        if ending is None or file.name.startswith(".") or not file.is_file():
            continue
        case = file.name.removesuffix(ending)
        if case in flat:
            raise EvaluationError(f"{case}: both {flat[case]} and {file} are there. Move one of them away.")
        flat[case] = file
    if not flat:
        raise EvaluationError(f"{folder}: holds no {' or '.join(ENDINGS)} file and no case_XXXXX folder.")
    return flat


def _single(prediction: Path, reference: Path) -> Pair:
    """Two files as one case, named by the prediction, or by its folder where the file has no name of its own."""
    for file in (prediction, reference):
        if not file.is_file():
            raise EvaluationError(f"{file}: no such file. Name two label maps, or two folders of them.")
    named = prediction.resolve()
    in_case_folder = CASE_FOLDER.fullmatch(named.parent.name) and named.name in reference_files()
    case = named.parent.name if in_case_folder else re.sub(r"\.nii(\.gz)?$", "", named.name)
    return Pair(case, prediction, reference)


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more cases"
