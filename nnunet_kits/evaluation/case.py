"""Scoring the files of one case."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_kits.errors import EvaluationError, KitsError
from nnunet_kits.evaluation.dataset_labels import DatasetLabels
from nnunet_kits.evaluation.metrics import Slices, score_case
from nnunet_kits.evaluation.references import Pair
from nnunet_kits.geometry import slice_axis, union_box
from nnunet_kits.images import AFFINE_TOLERANCE_MM, LabelMap, read_labels
from nnunet_kits.labels import Label
from nnunet_kits.releases import release_of


@dataclass(frozen=True)
class Protocol:
    """What a case is scored by.

    Attributes:
        year: two digits.
        labels: foreground labels that may occur.
        tolerances_mm: hierarchical evaluation class -> tolerance of its surface Dice.
        hd95: also the 95th percentile of the surface distances.
        tables: also what :mod:`nnunet_kits.evaluation.paper_tables` needs.
        dataset: labels of the dataset that the maps belong to; None for the year's own.
    """

    year: str
    labels: tuple[Label, ...]
    tolerances_mm: Mapping[str, float] = field(default_factory=dict)
    hd95: bool = False
    tables: bool = False
    dataset: DatasetLabels | None = None

    @property
    def values(self) -> Sequence[int]:
        """What predictions may hold."""
        return self.labels if self.dataset is None else sorted(self.dataset.values)

    @property
    def reference_values(self) -> Sequence[int]:
        """What references may hold."""
        if self.dataset is None or self.dataset.truth_of_year:
            return self.labels
        return range(1, self.dataset.highest + 1)


def protocol_of(year: str, tolerances_mm: Sequence[float] | None = None, hd95: bool = False) -> Protocol:
    """The protocol of a year, written ``23`` or ``2023``.

    Args:
        year: of the labels and tolerances.
        tolerances_mm: others than the year's, in the order of its classes.
        hd95: see :class:`Protocol`.

    Raises:
        EvaluationError: tolerances that do not fit the year.
        KitsError: no such year.
    """
    release = release_of(year)
    tolerances = release.tolerances_mm
    if tolerances_mm is not None:
        if len(tolerances_mm) != len(tolerances) or not all(0 <= t < math.inf for t in tolerances_mm):
            raise EvaluationError(
                f"tolerances {', '.join(f'{t:g}' for t in tolerances_mm)} mm: {release.edition} needs "
                f"{len(tolerances)}, none below 0, for {', '.join(tolerances) or 'no class'}."
            )
        tolerances = dict(zip(tolerances, tolerances_mm, strict=True))
    return Protocol(release.year, release.labels, tolerances, hd95)


def evaluate_case(
    prediction: Path,
    reference: Path,
    year: str,
    hd95: bool = False,
    tolerances_mm: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Score one label map against another.

    Args:
        prediction: ``.nii.gz`` or ``.nii``.
        reference: on the same grid.
        year: of the labels and tolerances.
        hd95: also the 95th percentile of the surface distances.
        tolerances_mm: others than the year's.

    Returns:
        See :func:`nnunet_kits.evaluation.metrics.score_case`.

    Raises:
        EvaluationError: files that do not lie on one grid.
        ImageError: a file that cannot be read, or holds a value that is no label.
    """
    protocol = protocol_of(year, tolerances_mm, hd95)
    return _score(read_labels(prediction, protocol.labels), reference, protocol)


def score_pair(task: tuple[Pair, Protocol]) -> dict[str, Any]:
    """Score one case; what it scores against KiTS21's samples is under ``samples``, one entry each.

    Raises:
        KitsError: as :func:`evaluate_case`, naming the case.
    """
    pair, protocol = task
    try:
        prediction = read_labels(pair.prediction, protocol.values)
        found = _score(prediction, pair.reference, protocol)
        if pair.samples:
            found["samples"] = [_score(prediction, sample, protocol) for sample in pair.samples]
    except KitsError as error:
        raise type(error)(f"{pair.case}: {error}") from error
    return found


def _score(prediction: LabelMap, reference: Path, protocol: Protocol) -> dict[str, Any]:
    """Score a label map that is read against one that is not yet."""
    true = read_labels(reference, protocol.reference_values)
    _check_grid(prediction, true, reference)
    box, dataset, slices = union_box(prediction.box, true.box), protocol.dataset, None
    ours, theirs = prediction.within(box).T, true.within(box).T  # the axes as the voxels lie in memory
    if dataset is not None:
        ours, theirs = dataset.translated(ours, theirs)
    if protocol.tables:
        axis = slice_axis(true.grid.affine)
        slices = Slices(2 - axis, true.grid.shape[axis])
    found = score_case(
        ours,
        theirs,
        prediction.grid.spacing_mm[::-1],
        protocol.tolerances_mm,
        protocol.labels,
        protocol.hd95,
        slices,
    )
    return found if dataset is None else dataset.select(found)


def _check_grid(prediction: LabelMap, true: LabelMap, reference: Path) -> None:
    """Refuse a prediction that does not lie on its reference's grid."""
    ours, theirs = prediction.grid, true.grid
    if ours.shape != theirs.shape:
        raise EvaluationError(
            f"the prediction is {ours.shape} but the reference {reference} is {theirs.shape} voxels. "
            "Both must lie on one grid: predict from the image that the reference belongs to."
        )
    apart = ours.distance_mm(theirs.affine)
    if not apart <= AFFINE_TOLERANCE_MM:
        spacings = " and ".join(str(tuple(round(edge, 4) for edge in grid.spacing_mm)) for grid in (ours, theirs))
        raise EvaluationError(
            f"the affines of the prediction and of the reference {reference} differ by up to {apart:.4g} mm (allowed "
            f"{AFFINE_TOLERANCE_MM} mm), with voxels of {spacings} mm. "
            "Both must lie on one grid: predict from the image that the reference belongs to."
        )
