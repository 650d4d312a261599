"""Resampling a network's logits and deciding every voxel's label, without the resampled logits ever being in memory."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ResamplingError
from nnunet_kits.resampling.cells import Points, Taps, corners, in_chunks, mixed_places, of_box, spread, taps_along
from nnunet_kits.resampling.operators import Rows
from nnunet_kits.resampling.scheme import Scheme
from nnunet_kits.resampling.volumes import Range, check_shapes, resample_volume, slabs

MIXED_SHARE = 0.2
"""Where more than this share of a slab lies between different classes, interpolating all of it is faster."""


def resample_logits_argmax(
    logits: NDArray[np.floating[Any]],
    new_shape: Sequence[int],
    scheme: Scheme,
    *,
    regions_class_order: Sequence[int] | None = None,
    box: Sequence[Rows] | None = None,
) -> NDArray[Any]:
    """Resample logits as nnU-Net's export does and give the label map that it would make of them.

    Args:
        logits: (c, z, y, x), of one class each, or of one region each.
        new_shape: (z, y, x) of the whole result.
        scheme: how to interpolate, see :func:`nnunet_kits.resampling.scheme.scheme_of`.
        regions_class_order: for logits of regions, the label that each writes where its logit is positive; a later
            region overwrites an earlier one. None for classes, where the largest logit's index is the label.
        box: half-open output voxels (z, y, x) to make; None makes all.

    Returns:
        (z, y, x) uint8, or uint16 where a label is above 255. It equals nnU-Net's except where two classes are equal
        within rounding.

    Raises:
        ResamplingError: wrong dimensions, or not as many regions as channels.
    """
    if logits.ndim != 4 or (regions_class_order is not None and len(regions_class_order) != len(logits)):
        raise ResamplingError(
            f"logits {logits.shape} with regions_class_order {regions_class_order}: there must be (c, z, y, x) logits "
            "and one label for each region's channel."
        )
    whole = check_shapes(logits.shape[1:], new_shape)
    z_rows, y_rows, x_rows = [(0, size) for size in whole] if box is None else box
    by_region = regions_class_order is not None
    written = np.array([0, *regions_class_order] if regions_class_order is not None else range(len(logits)))
    written = written.astype(np.uint8 if written.max() < 256 else np.uint16)
    result = np.empty([stop - start for start, stop in (z_rows, y_rows, x_rows)], written.dtype)
    taps = taps_along(scheme, logits.shape[1:], whole)
    ranges = [(float(channel.min()), float(channel.max())) for channel in logits] if scheme.order > 1 else None
    for rows in slabs(*z_rows, result[0].size * 16):
        slab_box = (rows, y_rows, x_rows)
        classes = None if taps is None else _between(logits, taps, slab_box, by_region)
        if classes is None:
            classes = _everywhere(logits, whole, scheme, slab_box, by_region, ranges)
        result[rows[0] - z_rows[0] : rows[1] - z_rows[0]] = written[classes]
    return result


def classify(channels: Iterable[NDArray[np.floating[Any]]], by_region: bool) -> NDArray[np.uint16]:
    """Which channel decides each voxel.

    Args:
        channels: logits of one class or region each, all of one shape.
        by_region: decide as by regions, each of which writes where it is positive.

    Returns:
        For classes the index of the largest, the first among equals. For regions one more than the index of the last
        positive one, 0 where there is none.
    """
    leader: NDArray[np.uint16] | None = None
    for index, channel in enumerate(channels):
        values = channel.astype(np.float32, copy=False)
        if leader is None:
            leader = np.zeros(values.shape, np.uint16)
            best = np.zeros((), np.float32) if by_region else values.copy()
            if not by_region:
                continue
        ahead = values > best
        leader[ahead] = index + by_region
        if not by_region:
            np.maximum(best, values, out=best)
    if leader is None:
        raise ResamplingError("logits have no channel. There must be at least one class or region.")
    return leader


def _between(
    logits: NDArray[Any], taps: Sequence[Taps], box: Sequence[Rows], by_region: bool
) -> NDArray[np.uint16] | None:
    """Decide a box by its samples, and interpolate only where these differ; None where that is most of it."""
    needed, here = of_box(taps, box)
    part = logits[:, needed[0], needed[1], needed[2]]
    classes = classify(part, by_region)
    places = mixed_places(classes, here)
    decided = spread(classes, [tap.samples[0] for tap in here])
    if len(places[0]) > MIXED_SHARE * decided.size:
        return None
    flat = [np.ascontiguousarray(channel).reshape(-1) for channel in part]
    for piece in in_chunks(len(places[0])):
        some = (places[0][piece], places[1][piece], places[2][piece])
        decided[some] = classify(_interpolated(flat, classes.shape, here, some), by_region)
    return decided


def _interpolated(
    flat: Sequence[NDArray[Any]], shape: Sequence[int], taps: Sequence[Taps], places: Points
) -> Iterable[NDArray[np.float32]]:
    """Each channel at some outputs."""
    around = [(index, weight.astype(np.float32)) for index, weight in corners(taps, shape, places)]
    for channel in flat:
        values = np.zeros(len(places[0]), np.float32)
        for index, weight in around:
            values += channel.take(index) * weight
        yield values


def _everywhere(
    logits: NDArray[Any],
    whole: Sequence[int],
    scheme: Scheme,
    box: Sequence[Rows],
    by_region: bool,
    ranges: Sequence[Range] | None,
) -> NDArray[np.uint16]:
    """Interpolate every channel of a box, one after the other."""
    unlimited = (float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
    limits = [unlimited] * len(logits) if ranges is None else ranges
    return classify(
        (resample_volume(one, whole, scheme, clip=limit, box=box) for one, limit in zip(logits, limits, strict=True)),
        by_region,
    )
