"""Slices that lean or lie at uneven distances, carried over to a grid that does neither.

A slice that leans is shifted within its plane, by linear interpolation along rows and columns: no two slices are mixed
where their distances are equal. Where they are not, the slices of the new grid are mixed from the two beside them.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from nnunet_kits.errors import ImageError
from nnunet_kits.images.frames import Frame
from nnunet_kits.images.series import Series
from nnunet_kits.images.stacks import SAME_MM, Stack
from nnunet_kits.images.voxels import joined

AIR_HU = -1024.0
"""Of voxels outside of every slice, and of padding."""


def resampled(
    series: Series, slices: Iterable[NDArray[np.generic]]
) -> tuple[NDArray[np.generic], NDArray[np.float64], str]:
    """A series on a grid of right angles and equal distances.

    Args:
        series: whose slices lean or lie unevenly.
        slices: HU (rows, columns) of each, in order.

    Returns:
        The array (columns, rows, slices), its affine to RAS millimetres, and what was done, for the user.

    Raises:
        ImageError: its slices state no place.
    """
    stack = series.stack
    if stack is None:
        raise ImageError(f"series {series.index} cannot be resampled: {series.reason}.")
    across, down = stack.spacing_mm
    drift = stack.drift_mm / (across, down) if stack.tilt_degrees else np.zeros((len(stack.frames), 2))
    low = np.floor(drift.min(axis=0)).astype(int)
    high = np.ceil(drift.max(axis=0)).astype(int)
    columns, rows, _ = series.shape
    size = (rows + int(high[1] - low[1]), columns + int(high[0] - low[0]))
    straight = [
        _shifted(_air(image, frame), size, by - low)
        for image, frame, by in zip(slices, stack.frames, drift, strict=True)
    ]
    step, places = _even(stack)
    first = (*(stack.places_mm[0, :2] + low * (across, down)), stack.places_mm[0, 2])
    shape = (size[1], size[0], len(places))
    array = joined((_between(straight, stack, place) for place in places), shape, f"series {series.index}")
    note = f"resampled from {len(stack.frames)} slices ({series.reason}) to {len(places)}, {step:.2f} mm apart"
    return array, stack.affine(first, step), note


def _air(image: NDArray[np.generic], frame: Frame) -> NDArray[np.float32]:
    """A slice in which padding is air: it must not be mixed with what was measured."""
    values = np.array(image, dtype=np.float32)
    if frame.file.padding is not None and frame.rescale is not None:
        slope, intercept = frame.rescale
        values[values == np.float32(frame.file.padding * slope + intercept)] = AIR_HU
    return values


def _shifted(image: NDArray[np.float32], size: tuple[int, int], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """A slice (rows, columns) in a larger one of air, shifted along columns and rows by parts of a voxel."""
    canvas = np.full(size, AIR_HU, np.float32)
    canvas[: image.shape[0], : image.shape[1]] = image
    found: NDArray[np.float32] = shift(canvas, by[::-1], order=1, mode="grid-constant", cval=AIR_HU)
    return found


def _even(stack: Stack) -> tuple[float, NDArray[np.float64]]:
    """Distance and places of the new slices: the old ones where these are even, else about the usual distance apart."""
    places = stack.places_mm[:, 2]
    if stack.is_even:
        return stack.step_mm, places
    usual = float(np.sort(stack.distances_mm)[(len(places) - 2) // 2])
    count = math.ceil(float(places[-1] - places[0]) / usual - SAME_MM) + 1
    even = np.linspace(places[0], places[-1], count)
    return float(even[1] - even[0]), even


def _between(slices: Sequence[NDArray[np.float32]], stack: Stack, place: float) -> NDArray[np.float32]:
    """The slice at a place along the normal, mixed from the two beside it."""
    places = stack.places_mm[:, 2]
    right = int(np.clip(np.searchsorted(places, place), 1, len(places) - 1))
    share = float(np.clip((place - places[right - 1]) / (places[right] - places[right - 1]), 0, 1))
    if share in (0.0, 1.0):
        return slices[right - 1 + int(share)]
    return (1 - share) * slices[right - 1] + share * slices[right]
