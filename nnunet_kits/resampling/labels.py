"""Resampling label maps: for every voxel the label that the reference picks, ties included."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ResamplingError
from nnunet_kits.geometry import Box, crop, whole_box
from nnunet_kits.resampling.cells import Points, Taps, corners, in_chunks, mixed_places, of_box, spread, taps_along
from nnunet_kits.resampling.scheme import Scheme
from nnunet_kits.resampling.volumes import check_shapes, slabs


@dataclass(frozen=True)
class LabelResampling:
    """How one box of a resampled label map is made.

    Attributes:
        needed: the box before that it draws on.
        taps: the samples that its voxels lie between along each axis, counted from the start of ``needed``.
    """

    needed: Box
    taps: Sequence[Taps]

    def __call__(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Resample.

        Args:
            labels: (z, y, x) label values of any integer or floating dtype, exactly the ``needed`` box.

        Returns:
            (z, y, x) of the size of the box, in the dtype of ``labels``.
        """
        classes, values = _as_classes(labels)
        depth, height, width = (len(tap.nearest) for tap in self.taps)
        result = np.empty((depth, height, width), classes.dtype)
        for rows in slabs(depth, height * width * 16):
            inside, here = of_box(self.taps, (rows, (0, height), (0, width)))
            part, slab = classes[inside], result[slice(*rows)]
            slab[...] = spread(part, [tap.samples[0] for tap in here])
            z, y, x = mixed_places(part, here)
            for piece in in_chunks(len(z)):
                places = (z[piece], y[piece], x[piece])
                closest = part[tuple(tap.nearest[i] for tap, i in zip(here, places, strict=True))]
                slab[places] = _winners(part, here, places, closest)
        return result.astype(labels.dtype, copy=False) if values is None else values[result]


def label_resampling(old: Sequence[int], new: Sequence[int], scheme: Scheme, box: Box) -> LabelResampling:
    """Prepare to make one box of a label map, resampled exactly as nnU-Net's ``resample_data_or_seg_to_shape`` does.

    With order 1 every label's mask is interpolated linearly and the largest value wins; where some are equal, which
    happens wherever a new voxel's centre lies half way between two labels, the nearest voxel's label wins if it is one
    of them, and else the smallest.

    Args:
        old: shape before.
        new: shape after.
        scheme: order 0 or 1, and order 0 along a separate axis.
        box: half-open, in voxels after.

    Raises:
        ResamplingError: not three-dimensional, empty, or another order.

    Source: batchgenerators.augmentations.utils.resize_segmentation with its default ``seg_tiebreak``.
    """
    check_shapes(old, new)
    taps = taps_along(scheme, old, new)
    if taps is None or scheme.separate_order > 0:
        raise ResamplingError(
            f"label map with a spline of order {scheme.order}, or {scheme.separate_order} along a separate axis: "
            "only order 0 or 1, and 0 along a separate axis, have an exact equivalent. Use nnU-Net's own function."
        )
    needed, parts = of_box(taps, box)
    z, y, x = ((rows.start, rows.stop) for rows in needed)
    return LabelResampling((z, y, x), parts)


def resample_labels(labels: NDArray[Any], new_shape: Sequence[int], scheme: Scheme) -> NDArray[Any]:
    """Resample a label map whole: :func:`label_resampling` of the box over everything.

    Args:
        labels: (z, y, x) label values of any integer or floating dtype.
        new_shape: (z, y, x) of the result.
        scheme: order 0 or 1, and order 0 along a separate axis.

    Returns:
        (z, y, x) in the dtype of ``labels``.

    Raises:
        ResamplingError: not three-dimensional, empty, or another order.
    """
    whole = check_shapes(labels.shape, new_shape)
    if labels.shape == whole:
        return labels.copy()
    wanted = label_resampling(labels.shape, whole, scheme, whole_box(whole))
    return wanted(crop(labels, wanted.needed))


def _as_classes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Small integers in the order of the labels, and the labels' values where they are not these integers."""
    for dtype in (np.int8, np.int16):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if low <= labels.min() and labels.max() <= high:
            classes = labels.astype(dtype, copy=False)
            if labels.dtype.kind in "iub" or np.array_equal(classes, labels):
                return np.ascontiguousarray(classes), None
    values, indices = np.unique(labels, return_inverse=True)
    return indices.reshape(labels.shape), values


def _winners(classes: NDArray[Any], taps: Sequence[Taps], places: Points, closest: NDArray[Any]) -> NDArray[Any]:
    """The class of each place with the largest interpolated mask; the closest voxel's where it is among the largest."""
    flat = classes.reshape(-1)
    around = [(flat[index], weight) for index, weight in corners(taps, classes.shape, places)]
    least = min(int(at.min()) for at, _ in around)
    present = np.flatnonzero(np.sum([np.bincount(at - least, minlength=256) for at, _ in around], axis=0)) + least
    best = np.zeros(len(closest))
    of_closest = np.zeros(len(closest))
    winner = np.empty(len(closest), classes.dtype)
    for label in present:
        score = np.zeros(len(closest))
        for at, weight in around:
            score += np.where(at == label, weight, 0.0)
        np.minimum(score, 1.0, out=score)  # as the reference clips to the mask's range
        np.copyto(winner, label, where=score > best)
        np.copyto(of_closest, score, where=closest == label)
        np.maximum(best, score, out=best)
    return np.where(of_closest == best, closest, winner)
