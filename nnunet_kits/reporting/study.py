"""What a report is about: cases with their files, and what scoring and measuring them gives."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.cases.cts import Choice, cts_of
from nnunet_kits.cases.finding import check_labels_beside, find_label_maps
from nnunet_kits.cases.records import read_record
from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.evaluation.case import evaluate_case
from nnunet_kits.evaluation.references import References
from nnunet_kits.geometry import canonical_affine, canonical_spacing, to_canonical
from nnunet_kits.images import (
    CT_ENDINGS,
    CtSource,
    LabelMap,
    Volume,
    check_same_grid,
    name_of,
    read_any_ct,
    read_labels,
)
from nnunet_kits.labels import Label
from nnunet_kits.measurement.agreement import in_words
from nnunet_kits.measurement.measure import Measures, measure_labels
from nnunet_kits.measurement.remarks import image_remarks, remarks_on
from nnunet_kits.nnunet_files import read_dataset_json
from nnunet_kits.releases import DEFAULT_YEAR, RELEASES
from nnunet_kits.reporting.overlays import Case


@dataclass(frozen=True)
class ReportCase:
    """One predicted case.

    Attributes:
        name: for example ``case_00003``.
        image: CT: a file, or a DICOM series.
        prediction: label map on the CT's grid.
        reference: label map on the same grid, or None.
    """

    name: str
    image: CtSource
    prediction: Path
    reference: Path | None = None


@dataclass(frozen=True)
class Finding:
    """What is known of a case.

    Attributes:
        predicted: measures of the prediction, with the CT's HU.
        image: name of the CT's file, or what its series is called.
        shape_zyx: voxels of the case, in canonical orientation (see :mod:`nnunet_kits.geometry`).
        spacing_zyx_mm: voxel edges.
        affine: (4, 4) canonical (z, y, x) index to RAS millimetres.
        true: measures of the reference, where there is one.
        scores: see :func:`nnunet_kits.evaluation.metrics.score_case`; None where there is no reference.
        agreement: of the folds or mirrored copies of each model that predicted, in words; empty where it is not known.
    """

    predicted: Measures
    image: str
    shape_zyx: tuple[int, int, int]
    spacing_zyx_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    true: Measures | None = None
    scores: Mapping[str, Any] | None = None
    agreement: str = ""

    def to_zyx(self, place_mm: Sequence[float]) -> list[float]:
        """Canonical (z, y, x) index of a place in RAS millimetres, to a hundredth of a voxel."""
        away = np.asarray(place_mm, float) - self.affine[:3, 3]
        return [round(float(index), 2) for index in np.linalg.solve(self.affine[:3, :3], away)]

    def mean_score(self) -> float:
        """Mean of Dice and surface Dice over the challenge's classes; infinity without a reference."""
        if self.scores is None:
            return float("inf")
        numbers: list[float] = [*self.scores["dice"].values(), *self.scores["surface_dice"].values()]
        return sum(numbers) / len(numbers)


def find_cases(
    images: Path, predictions: Path, references: Path | None, year: str, choice: Choice | None = None
) -> list[ReportCase]:
    """The cases of a folder of predictions, by name; or the one of a file.

    Args:
        images: CTs, named as nnU-Net names them (``case_0000.nii.gz``) or as the case, a KiTS folder, one file, or
            DICOM.
        predictions: label maps, or one.
        references: label maps of the same names, a KiTS folder, or one file; None for none. A case without one is
            shown without scores.
        year: whose references they are.
        choice: of a DICOM series.

    Raises:
        ImageError: no prediction, one without its CT, no references in the folder that is named, or two files of one
            case.
    """
    predicted = find_label_maps(predictions, endings=CT_ENDINGS)
    check_labels_beside(predictions)
    scans = cts_of(predicted, images, choice)
    if references is None or references.is_file():
        of = dict.fromkeys(predicted, references)
    else:
        files = References(references, year)
        of = {name: files.of(name) for name in predicted}
    return [ReportCase(name, scans[name], file, of[name]) for name, file in predicted.items()]


def year_of(predictions: Path) -> str:
    """The KiTS year that a folder's predictions belong to, from the ``dataset.json`` that nnU-Net leaves beside them.

    Returns:
        What the conversion wrote there; without, :data:`DEFAULT_YEAR`, or the last one that labels cysts, or none, as
        these predictions do.
    """
    try:
        described = read_dataset_json(predictions / "dataset.json")
    except KitsError:  # none, or not as nnU-Net writes it
        return DEFAULT_YEAR
    values = {value for entry in described["labels"].values() for value in np.atleast_1d(entry).tolist()}
    release = str(described.get("release", "")).removeprefix("KiTS")
    if release in RELEASES:
        return release
    likely = [DEFAULT_YEAR, *reversed(RELEASES)]
    return next(year for year in likely if (Label.CYST in RELEASES[year].labels) == (Label.CYST in values))


def examine(task: tuple[ReportCase, str]) -> Finding:
    """Score and measure the files of one case.

    Args:
        task: the case, and the year whose tolerances apply.

    Raises:
        KitsError: naming the case: an unreadable file, a foreign label, or files that do not lie on one grid.
    """
    case, year = task
    with _naming(case):
        scores = evaluate_case(case.prediction, case.reference, year) if case.reference else None
    image, prediction, reference = _read_all(case)
    with _naming(case):
        predicted = _measured(prediction, image)
        true = _measured(reference, image) if reference else None
    z, y, x = to_canonical(image.array, image.affine).shape
    affine = canonical_affine(image.array.shape, image.affine)
    spacing, agreement = canonical_spacing(image.affine), _agreement(case)
    return Finding(predicted, name_of(case.image), (z, y, x), spacing, affine, true, scores, agreement)


def load_case(case: ReportCase) -> Case:
    """CT and label maps for the pictures.

    Raises:
        KitsError: an unreadable file, or files that do not lie on one grid.
    """
    image, prediction, reference = _read_all(case)
    return Case(
        to_canonical(image.array, image.affine),
        to_canonical(prediction.whole(), image.affine),
        to_canonical(reference.whole(), image.affine) if reference else None,
        canonical_spacing(image.affine),
    )


def _agreement(case: ReportCase) -> str:
    """What ``predict --agreement`` left beside the prediction, in words.

    Raises:
        ImageError: naming the file: it holds something else under that name.
    """
    path = case.prediction.parent / "prediction.json"
    record = read_record(path) if path.is_file() else None
    try:
        found = (record or {}).get("cases", {}).get(case.name, {}).get("agreement", [])
        return "; ".join(map(in_words, found))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ImageError(
            f"{path}: what it says of the agreement in {case.name} cannot be read. Predict again with --overwrite, or "
            "take the file away."
        ) from error


@contextmanager
def _naming(case: ReportCase) -> Iterator[None]:
    """Put the case's name before what is wrong with it."""
    try:
        yield
    except KitsError as error:
        raise type(error)(f"{case.name}: {error}") from error


def _read_all(case: ReportCase) -> tuple[Volume, LabelMap, LabelMap | None]:
    """CT, prediction and reference."""
    image, prediction = read_any_ct(case.image), read_labels(case.prediction)
    check_same_grid(case.name, image.grid, prediction.grid)
    return image, prediction, read_labels(case.reference) if case.reference else None


def _measured(labels: LabelMap, image: Volume) -> Measures:
    measures = measure_labels(labels.whole(), labels.grid.affine, image.array)
    return replace(measures, remarks=remarks_on(measures, labels, image_remarks(image)))
