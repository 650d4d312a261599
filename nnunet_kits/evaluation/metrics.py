"""The challenges' numbers for one case: Dice and surface Dice of each hierarchical evaluation class (HEC)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.components import mask_of
from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.lesions import detect
from nnunet_kits.evaluation.overlap import dice, is_tight, joint_histogram, precision, recall, slice_dice
from nnunet_kits.evaluation.surfaces import Spacing, Surface, find_surface, reach_of, surface_dice
from nnunet_kits.geometry import NOWHERE, Box, bounding_box, crop, whole_box
from nnunet_kits.images import checked_labels
from nnunet_kits.labels import REGION_LABEL, REGIONS, Label, regions_of


@dataclass(frozen=True)
class Slices:
    """The axial slices of an image.

    Attributes:
        axis: of the scored arrays, across which they lie.
        count: how many the whole image has; where the arrays hold fewer, the others are empty in both.
    """

    axis: int
    count: int


def score_case(
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    spacing_mm: Sequence[float],
    tolerances_mm: Mapping[str, float],
    labels: Sequence[Label] = REGIONS["kidney_and_mass"],
    hd95: bool = False,
    slices: Slices | None = None,
) -> dict[str, Any]:
    """Score a label map against its reference.

    Dice and surface Dice are 1 where both masks are empty and 0 where one is, as the challenges define.

    Args:
        prediction: label values, three-dimensional, in any order of the axes.
        reference: of the same shape.
        spacing_mm: length of a voxel edge along the axes.
        tolerances_mm: HEC -> tolerance of its surface Dice; a HEC without one gets none.
        labels: foreground labels of the edition.
        hd95: also the 95th percentile of the surface distances, which takes longer than all the rest.
        slices: also what papers report besides: see below.

    Returns:
        ``dice``, ``surface_dice`` and, if asked for, ``hd95_mm``: HEC -> number; ``label_dice``: label -> number;
        ``volume_ml``: label -> [predicted, true]; ``tumors``: see :func:`nnunet_kits.evaluation.lesions.detect`.
        With ``slices`` also ``label_surface_dice``: label -> number, at the tolerance of the HEC that the label gives
        its name to; ``precision``, ``recall``, ``slice_dice``: HEC or label -> number; ``slices``: how many.

    Raises:
        EvaluationError: the shapes differ.
        ImageError: a value is no label.

    Source: ``evaluation/metrics.py`` of the repositories neheller/kits21 and neheller/kits23;
    ``starter_code/evaluation.py`` of neheller/kits19.
    """
    if prediction.shape != reference.shape:
        raise EvaluationError(
            f"the prediction is {prediction.shape} but the reference is {reference.shape} voxels. "
            "Both must lie on one grid: predict from the image that the reference belongs to."
        )
    z, y, x = (float(edge) for edge in spacing_mm)
    spacing = (z, y, x)
    maps = _Maps(
        checked_labels(prediction, labels, "the prediction"), checked_labels(reference, labels, "the reference")
    )
    by_slice = [joint_histogram(*part, labels) for part in maps.parts(slices)]
    pairs = sum(by_slice[1:], by_slice[0])
    regions = regions_of(tuple(labels))
    own = {label.name.lower(): (label,) for label in labels}
    found: dict[str, Any] = {
        "dice": {name: dice(pairs, members) for name, members in regions.items()},
        "surface_dice": {},
        "label_dice": {name: dice(pairs, members) for name, members in own.items()},
        "volume_ml": {name: _volumes_ml(pairs, label, spacing) for name, (label,) in own.items()},
    }
    present = {label for label in labels if pairs[label].any() or pairs[:, label].any()}
    classes = regions if slices is None else {**regions, **own}
    occurring = {name: tuple(label for label in members if label in present) for name, members in classes.items()}
    reach = reach_of(spacing, max(tolerances_mm.values(), default=0.0))
    surfaces = {members: maps.surfaces(members, reach) for members in set(occurring.values()) if tolerances_mm or hd95}
    for name in regions:  # without cysts, masses are tumours: one pair of surfaces serves both
        if name in tolerances_mm:
            found["surface_dice"][name] = surface_dice(*surfaces[occurring[name]], spacing, tolerances_mm[name])
    if slices is not None:
        found["label_surface_dice"] = {
            label.name.lower(): surface_dice(*surfaces[occurring[label.name.lower()]], spacing, tolerances_mm[name])
            for name, label in REGION_LABEL.items()
            if name in tolerances_mm and label in labels
        }
        found["precision"] = {name: precision(pairs, members) for name, members in classes.items()}
        found["recall"] = {name: recall(pairs, members) for name, members in classes.items()}
        stacked = np.stack(by_slice)
        found["slice_dice"] = {name: slice_dice(stacked, members, slices.count) for name, members in classes.items()}
        found["slices"] = slices.count
    if hd95:
        from nnunet_kits.evaluation.hausdorff import robust_hausdorff_mm

        found["hd95_mm"] = {name: robust_hausdorff_mm(*surfaces[occurring[name]], spacing) for name in regions}
    found["tumors"] = detect(*maps.masks((Label.TUMOR,)), spacing)
    return found


def _volumes_ml(pairs: NDArray[np.int64], label: int, spacing_mm: Spacing) -> list[float]:
    """Predicted and true volume of a label."""
    voxel_ml = math.prod(spacing_mm) / 1000
    return [int(pairs[label].sum()) * voxel_ml, int(pairs[:, label].sum()) * voxel_ml]


class _Maps:
    """Both label maps in the box that holds their foreground, and the smaller one that holds tumours and cysts."""

    def __init__(self, prediction: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
        box: Box | None = whole_box(prediction.shape)
        if not is_tight(prediction, reference):
            box = bounding_box(prediction | reference)
        self.whole = _cut(box, prediction, reference)
        self.masses = bounding_box((self.whole[0] > 1) | (self.whole[1] > 1))

    def parts(self, slices: Slices | None) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Both maps, slice by slice where there are slices to score."""
        if slices is None or not self.whole[0].size:
            return [self.whole]
        a, b = (np.moveaxis(array, slices.axis, 0) for array in self.whole)
        return list(zip(a, b, strict=True))

    def masks(self, members: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Mask of a class in the prediction and in the reference, cut to a box that holds both."""
        if Label.KIDNEY in members:
            return mask_of(self.whole[0], members), mask_of(self.whole[1], members)
        a, b = (mask_of(array, members) for array in _cut(self.masses, *self.whole))
        a, b = _cut(bounding_box(a | b), a, b)
        return a, b

    def surfaces(self, members: Sequence[int], reach: tuple[int, int, int]) -> tuple[Surface, Surface]:
        """Surface of a class in the prediction and in the reference."""
        a, b = self.masks(members)
        return find_surface(a, reach), find_surface(b, reach)


def _cut(box: Box | None, first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays inside a box; nothing of them where there is none."""
    return crop(first, box or NOWHERE), crop(second, box or NOWHERE)
