"""Where the fine network must look: boxes around what the coarse one found."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.geometry import Box, bounding_box, crop, grow_box


@dataclass(frozen=True)
class RoiSettings:
    """How boxes are made.

    Attributes:
        margin_mm: added on every side.
        smallest_ml: what the coarse network found in pieces smaller than this is taken for noise, unless all are.
        growths: how often a box may grow where the fine result touches its side.
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
    pieces, count = ndimage.label(crop(mask, whole), structure=np.ones((3, 3, 3), bool))
    volumes_ml = np.bincount(pieces.ravel())[1:] * float(np.prod(spacing_zyx_mm)) / 1000
    kept = np.flatnonzero(volumes_ml >= min(settings.smallest_ml, volumes_ml.max()))
    places = ndimage.find_objects(pieces, count)
    boxes = []
    for index in kept:
        inside = [(s.start + lower, s.stop + lower) for s, (lower, _) in zip(places[index], whole, strict=True)]
        boxes.append(grow_box((inside[0], inside[1], inside[2]), settings.margin_mm, spacing_zyx_mm, mask.shape))
    return _merge(boxes, cost)


def _merge(boxes: list[Box], cost: Callable[[Box], float]) -> list[Box]:
    """Join the two boxes whose union saves most, until none saves anything; all, where that is no dearer."""
    boxes = list(boxes)
    prices = [cost(box) for box in boxes]
    while len(boxes) > 1:
        savings = [
            (prices[i] + prices[j] - cost(union(boxes[i], boxes[j])), i, j)
            for i in range(len(boxes))
            for j in range(i + 1, len(boxes))
        ]
        saved, i, j = max(savings)
        if saved < 0:
            break
        joined = union(boxes[i], boxes[j])
        boxes = [box for k, box in enumerate(boxes) if k not in (i, j)] + [joined]
        prices = [cost(box) for box in boxes]
    everything = functools.reduce(union, boxes)
    return [everything] if cost(everything) <= sum(prices) else boxes


def union(a: Box, b: Box) -> Box:
    """The smallest box that holds both."""
    z, y, x = ((min(p[0], q[0]), max(p[1], q[1])) for p, q in zip(a, b, strict=True))
    return z, y, x


def grow_where_touched(
    mask: NDArray[np.bool_], box: Box, shape: tuple[int, ...], spacing_zyx_mm: tuple[float, float, float], by_mm: float
) -> Box:
    """Move outwards every side of a box that a result touches and that is not the volume's own border.

    Args:
        mask: (z, y, x) within ``box``: the fine result's foreground.
        box: half-open, in voxels of the volume.
        shape: of the volume.
        spacing_zyx_mm: of the volume.
        by_mm: how far.

    Returns:
        The same box where nothing touches a side, else a larger one.
    """
    grown = []
    for axis, ((start, stop), spacing, size) in enumerate(zip(box, spacing_zyx_mm, shape, strict=True)):
        by = max(1, round(by_mm / spacing))
        if start > 0 and mask.take(0, axis).any():
            start = max(0, start - by)
        if stop < size and mask.take(-1, axis).any():
            stop = min(size, stop + by)
        grown.append((start, stop))
    return grown[0], grown[1], grown[2]
