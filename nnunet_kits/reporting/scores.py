"""Dice of the challenge's regions and volumes in mL, for the report."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError
from nnunet_kits.labels import Label, regions_of

ALL_LABELS = (Label.KIDNEY, Label.TUMOR, Label.CYST)


@dataclass(frozen=True)
class ScoreTable:
    """One number per case and region.

    Attributes:
        metric: what the numbers are, for example ``"Dice"``.
        regions: columns, in order.
        cases: case -> region -> number; NaN where it does not exist.
    """

    metric: str
    regions: tuple[str, ...]
    cases: Mapping[str, Mapping[str, float]]

    def mean(self) -> dict[str, float]:
        """Region -> mean over the cases that have the number; NaN where none has."""
        means = {}
        for region in self.regions:
            numbers = [row[region] for row in self.cases.values() if not math.isnan(row.get(region, math.nan))]
            means[region] = sum(numbers) / len(numbers) if numbers else math.nan
        return means


def case_mean(row: Mapping[str, float]) -> float:
    """Mean of the numbers that exist; infinity where none does, so that it sorts last."""
    numbers = [number for number in row.values() if not math.isnan(number)]
    return sum(numbers) / len(numbers) if numbers else math.inf


def region_dice(
    prediction: NDArray[Any], reference: NDArray[Any], labels: tuple[Label, ...] = ALL_LABELS
) -> dict[str, float]:
    """Dice of each region: 1 where both are empty, 0 where one is.

    Source: KiTS23's evaluation (empty against empty counts as 1).

    Args:
        prediction: label map.
        reference: label map of the same shape.
        labels: foreground labels of the edition; regions that they cannot form are left out.

    Returns:
        Region name -> Dice.

    Raises:
        ImageError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise ImageError(
            f"the prediction is {prediction.shape} but the reference is {reference.shape} voxels. "
            "Both must lie on one grid: predict from the image that the reference belongs to."
        )
    scores = {}
    for region, members in regions_of(labels).items():
        ours, theirs = np.isin(prediction, members), np.isin(reference, members)
        total = int(ours.sum()) + int(theirs.sum())
        scores[region] = 2 * int((ours & theirs).sum()) / total if total else 1.0
    return scores


def volumes_ml(array: NDArray[Any], spacing_mm: tuple[float, float, float]) -> dict[Label, float]:
    """Label -> volume in mL; 0 where the label does not occur."""
    voxel_ml = math.prod(spacing_mm) / 1000
    return {label: int((array == label).sum()) * voxel_ml for label in ALL_LABELS}


def labels_of(folder: Path) -> tuple[Label, ...]:
    """The labels that a dataset has, from the ``dataset.json`` that nnU-Net leaves beside its predictions.

    Returns:
        All labels where there is no such file: cysts are then scored.
    """
    try:
        described = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["labels"].values()
        values = {value for entry in described for value in (entry if isinstance(entry, list) else [entry])}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):  # none, or not as nnU-Net writes it
        return ALL_LABELS
    return tuple(label for label in ALL_LABELS if label in values) or ALL_LABELS
