"""Classes between voxels: where all corners of a cell agree nothing needs interpolating, and elsewhere little does.

A cell is the box between neighbouring samples (two along an axis that is interpolated linearly, one along an axis
where the nearest is taken). A value inside it is an average of its corners. So where one class leads at every corner it
leads everywhere inside, and only cells with different corners, a small part of a label map, need their scores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.resampling.operators import AxisOperator, Rows, axis_operator, operator_along
from nnunet_kits.resampling.scheme import Scheme

CHUNK = 1 << 18
"""Voxels that are interpolated at a time."""


@dataclass(frozen=True, eq=False)
class Taps:
    """The one or two neighbouring samples between which each output along an axis lies.

    Attributes:
        samples: (k, n) indices, k = 1 for the nearest sample and 2 for linear interpolation. Beyond an end of the axis
            both are its last sample.
        weights: (k, n) float64.
        cells: (n,) which cell along the axis the output lies in.
        nearest: (n,) the sample closest to the output.
    """

    samples: NDArray[np.intp]
    weights: NDArray[np.float64]
    cells: NDArray[np.intp]
    nearest: NDArray[np.intp]

    @property
    def linear(self) -> bool:
        """Whether outputs lie between two samples."""
        return len(self.samples) == 2

    def part(self, rows: Rows, begin: int) -> "Taps":
        """The taps of some outputs, with samples counted from ``begin``."""
        some = slice(*rows)
        cells, nearest = self.cells[some] - begin, self.nearest[some] - begin
        return Taps(self.samples[:, some] - begin, self.weights[:, some], cells, nearest)


Points = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
"""Output voxels: their indices along z, y, x."""


def taps_along(scheme: Scheme, old_shape: Sequence[int], new_shape: Sequence[int]) -> list[Taps] | None:
    """The samples that outputs lie between, for each axis; None where some axis has a spline of order 2 or more."""
    operators = [
        operator_along(scheme, axis, *pair) for axis, pair in enumerate(zip(old_shape, new_shape, strict=True))
    ]
    taps = [_taps(operator, scheme.order_along(axis)) for axis, operator in enumerate(operators)]
    known = [tap for tap in taps if tap is not None]
    return known if len(known) == len(taps) else None


def _taps(operator: AxisOperator, order: int) -> Taps | None:
    """The samples that one axis' outputs lie between.

    An operator adds up the weights of a sample that is repeated beyond an end. scipy adds the products one by one,
    which rounds differently, so linear weights are worked out here as scipy does.
    """
    if order == 0 or operator.is_identity:
        return Taps(operator.first[None], operator.weights.T, operator.first, operator.first)
    if order != 1:
        return None
    places = (np.arange(operator.new_size) + 0.5) * (operator.old_size / operator.new_size) - 0.5
    below = np.floor(places).astype(np.intp)
    share = places - below
    end = operator.old_size - 1
    samples = np.clip(np.stack([below, below + 1]), 0, end)
    nearest = axis_operator(operator.old_size, operator.new_size, 0).first
    return Taps(samples, np.stack([1.0 - share, share]), np.clip(below, 0, max(0, end - 1)), nearest)


def of_box(taps: Sequence[Taps], box: Sequence[Rows]) -> tuple[tuple[slice, slice, slice], list[Taps]]:
    """The samples that a box of the result needs, and the taps of the box, counted from the first such sample."""
    needed, parts = [], []
    for tap, rows in zip(taps, box, strict=True):
        samples = [*tap.samples[:, slice(*rows)], tap.nearest[slice(*rows)]]
        first, last = int(np.min(samples)), int(np.max(samples)) + 1
        needed.append(slice(first, last))
        parts.append(tap.part(rows, first))
    return (needed[0], needed[1], needed[2]), parts


def mixed_places(classes: NDArray[np.integer[Any]], taps: Sequence[Taps]) -> Points:
    """The outputs that lie in cells with corners of different classes."""
    mixed = spread(_mixed_cells(classes, taps), [tap.cells for tap in taps])
    line, x = np.divmod(np.flatnonzero(mixed), mixed.shape[2])
    z, y = np.divmod(line, mixed.shape[1])
    return z, y, x


def _mixed_cells(classes: NDArray[np.integer[Any]], taps: Sequence[Taps]) -> NDArray[np.bool_]:
    """Which cells have corners of different classes.

    A linear axis of n samples has n - 1 cells, but at least one; any other axis has a cell for each sample.
    """
    pairs = [axis for axis in range(3) if taps[axis].linear and classes.shape[axis] > 1]
    mixed = np.zeros([n - (axis in pairs) for axis, n in enumerate(classes.shape)], bool)
    for axis in pairs:
        differs = _lower(classes, axis) != _upper(classes, axis)
        for other in pairs:
            if other != axis:
                differs = _lower(differs, other) | _upper(differs, other)
        mixed |= differs
    return mixed


def _lower(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """All but the last along an axis."""
    return array[tuple(slice(-1) if a == axis else slice(None) for a in range(3))]


def _upper(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """All but the first along an axis."""
    return array[tuple(slice(1, None) if a == axis else slice(None) for a in range(3))]


def spread(array: NDArray[Any], indices: Sequence[NDArray[np.intp]]) -> NDArray[Any]:
    """The array's elements at one index along each axis for every output."""
    growth = [len(index) / size for index, size in zip(indices, array.shape, strict=True)]
    for axis in sorted(range(3), key=lambda axis: (growth[axis] >= 1, -axis)):  # whole rows and planes are copied last
        array = array.take(indices[axis], axis=axis)
    return array


def in_chunks(count: int) -> Iterator[slice]:
    """Cut a list of voxels into pieces that stay in the processor's cache."""
    for start in range(0, count, CHUNK):
        yield slice(start, start + CHUNK)


def corners(
    taps: Sequence[Taps], shape: Sequence[int], places: Points
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Flat index into an array of ``shape`` and weight of each corner of some outputs' cells.

    The weights are multiplied, and the corners come, in the order in which scipy.ndimage does it, so that sums of
    float64 weights are equal to scipy's to the last bit: ties between classes are decided as there.
    """
    sides = [
        [(tap.samples[k, i], tap.weights[k, i]) for k in range(len(tap.samples))]
        for tap, i in zip(taps, places, strict=True)
    ]
    for z, weight_z in sides[0]:
        for y, weight_y in sides[1]:
            line, weight_zy = (z * shape[1] + y) * shape[2], weight_z * weight_y
            for x, weight_x in sides[2]:
                yield line + x, weight_zy * weight_x
