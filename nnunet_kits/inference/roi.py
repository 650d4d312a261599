"""Where the fine network must look: boxes around what the coarse one found, and beside them where a result goes on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.components import component_boxes
from nnunet_kits.geometry import Box, bounding_box, crop, grow_box, union_box, whole_box


@dataclass(frozen=True)
class RoiSettings:
    """How boxes are made.

    Attributes:
        margin_mm: added on every side.
        smallest_ml: what a network found in pieces smaller than this is taken for noise: the coarse one's get no box
            unless all are so small, and the fine one's may be cut by the side of a box.
        growths: how many times in turn a box may get another one beside it where the fine result goes on.
    """

    margin_mm: float = 25.0
    smallest_ml: float = 1.0
    growths: int = 3


def find_boxes(
    mask: NDArray[np.bool_],
    spacing_zyx_mm: tuple[float, float, float],
    settings: RoiSettings,
    cost: Callable[[Box], float],
) -> list[Box]:
    """Boxes around the pieces of a coarse mask: one for all or one each, whatever costs less.

    Args:
        mask: (z, y, x), True where the coarse network found kidney or mass.
        spacing_zyx_mm: of the mask.
        settings: margin, and what is noise.
        cost: price of running the fine network on a box, for example its number of windows.

    Returns:
        Half-open boxes in voxels of the mask, margin included; no two of them are cheaper as one. None where the mask
        is empty.
    """
    whole = bounding_box(mask)
    if whole is None:
        return []
    pieces, _ = ndimage.label(crop(mask, whole), structure=np.ones((3, 3, 3), bool))
    volumes_ml = np.bincount(pieces.ravel())[1:] * float(np.prod(spacing_zyx_mm)) / 1000
    kept = np.flatnonzero(volumes_ml >= min(settings.smallest_ml, volumes_ml.max()))
    places = component_boxes(pieces)
    boxes = []
    for index in kept:
        z, y, x = (
            (start + lower, stop + lower) for (start, stop), (lower, _) in zip(places[index], whole, strict=True)
        )
        boxes.append(grow_box((z, y, x), settings.margin_mm, spacing_zyx_mm, whole_box(mask.shape)))
    return merge(boxes, cost)


def merge(boxes: list[Box], cost: Callable[[Box], float]) -> list[Box]:
    """Join the two boxes whose union saves most, until none saves anything; all, where that is no dearer."""
    boxes = list(boxes)
    prices = [cost(box) for box in boxes]
    while len(boxes) > 1:
        savings = [
            (prices[i] + prices[j] - cost(union_box(boxes[i], boxes[j])), i, j)
            for i in range(len(boxes))
            for j in range(i + 1, len(boxes))
        ]
        saved, i, j = max(savings)
        if saved < 0:
            break
        joined = union_box(boxes[i], boxes[j])
        boxes = [box for k, box in enumerate(boxes) if k not in (i, j)] + [joined]
        prices = [cost(box) for box in boxes]
    everything = union_box(*boxes)
    return [everything] if cost(everything) <= sum(prices) else boxes


def boxes_beyond(
    mask: NDArray[np.bool_],
    box: Box,
    volume: Box,
    spacing_zyx_mm: tuple[float, float, float],
    settings: RoiSettings,
    looked_at: Sequence[Box],
) -> list[Box]:
    """Boxes around the places where a result touches a side of its box and goes on where nobody has looked.

    Args:
        mask: (z, y, x) within ``box``: the fine result's foreground.
        box: half-open, in voxels of the scan.
        volume: what there is to look at.
        spacing_zyx_mm: of the scan.
        settings: the margin around each place; pieces below ``smallest_ml`` are noise.
        looked_at: boxes that were or will be looked at.

    Returns:
        Boxes of the scan, within ``volume``; none where nothing was cut.
    """
    sides = []
    for axis in range(3):
        for side, outside in ((0, box[axis][0] - 1), (-1, box[axis][1])):
            if volume[axis][0] <= outside < volume[axis][1]:
                contact = _uncovered(np.take(mask, side, axis), box, axis, outside, looked_at)
                sides += [(axis, side, outside, contact)] if contact.any() else []
    if not sides:
        return []
    margin_mm = max(settings.margin_mm, *spacing_zyx_mm)  # a voxel at least, so that every turn gets further
    pieces, _ = ndimage.label(mask, structure=np.ones((3, 3, 3), bool))
    counts = np.bincount(pieces.ravel())
    counts[0] = 0
    large = counts * float(np.prod(spacing_zyx_mm)) / 1000 >= max(settings.smallest_ml, 1e-9)
    found = []
    for axis, side, outside, contact in sides:
        places, _ = ndimage.label(contact & large[pieces.take(side, axis)], structure=np.ones((3, 3), bool))
        others = [other for other in range(3) if other != axis]
        for place in ndimage.find_objects(places):
            around = [(outside, outside + 1)] * 3
            for other, part in zip(others, place, strict=True):
                around[other] = (box[other][0] + part.start, box[other][0] + part.stop)
            z, y, x = around
            found.append(grow_box((z, y, x), margin_mm, spacing_zyx_mm, volume))
    return found


def _uncovered(
    contact: NDArray[np.bool_], box: Box, axis: int, outside: int, looked_at: Sequence[Box]
) -> NDArray[np.bool_]:
    """The voxels of a box's side whose neighbours outside lie in none of the boxes that are looked at."""
    others = [other for other in range(3) if other != axis]
    left = contact.copy()
    for known in looked_at:
        if known[axis][0] <= outside < known[axis][1]:
            rows, columns = (
                slice(max(0, known[other][0] - box[other][0]), max(0, known[other][1] - box[other][0]))
                for other in others
            )
            left[rows, columns] = False
    return left
