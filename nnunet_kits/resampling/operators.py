"""Resampling along one axis as a banded matrix, and fast products with it.

A spline interpolates linearly in the voxels' values, and along each axis by itself. So pushing unit vectors through the
reference once gives a matrix for an axis, and a volume is resampled by multiplying with one matrix after the other. The
influence of a voxel fades quickly: the matrix is a narrow band, kept here as tiles that suit a dense product.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.errors import ResamplingError
from nnunet_kits.machine import thread_pools
from nnunet_kits.resampling.scheme import Scheme

Rows = tuple[int, int]
"""Half-open interval ``(start, stop)`` of samples along an axis."""

Reference = Literal["zoom", "map_coordinates"]
"""What an operator repeats: scipy.ndimage.zoom, which skimage's resize calls, or scipy.ndimage.map_coordinates."""

NEGLIGIBLE = 1e-7
"""Weights below this are left out of products: together they move a value by less than 1e-6 of the data's range."""


APART = 80
"""Samples after which a spline's influence has surely faded: below 1e-14 at order 5, the widest, half as far."""


@dataclass(frozen=True, eq=False)
class AxisOperator:
    """The matrix (new_size, old_size) that resamples one axis, as a band.

    Attributes:
        old_size: samples before.
        new_size: samples after.
        first: (new_size,) the first sample that each row draws on; rising.
        weights: (new_size, width) float64, the reference's own numbers; row ``i`` begins at sample ``first[i]``.
    """

    old_size: int
    new_size: int
    first: NDArray[np.intp]
    weights: NDArray[np.float64]

    @cached_property
    def is_identity(self) -> bool:
        """Whether the axis stays as it is."""
        return self.old_size == self.new_size

    @cached_property
    def is_selection(self) -> bool:
        """Whether every sample after is one sample before (order 0)."""
        return self.weights.shape[1] == 1 and bool((self.weights == 1).all())

    def inputs(self, start: int, stop: int) -> Rows:
        """The samples before that the samples ``start`` to ``stop`` after draw on."""
        return int(self.first[start]), min(self.old_size, int(self.first[stop - 1]) + self.weights.shape[1])

    def dense(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows ``start`` to ``stop`` as float32, with the columns of :meth:`inputs`."""
        lower, upper = self.inputs(start, stop)
        width = self.weights.shape[1]
        block = np.zeros((stop - start, upper - lower + width), np.float32)
        columns = self.first[start:stop, None] - lower + np.arange(width)
        block[np.arange(stop - start)[:, None], columns] = self.weights[start:stop]
        block[np.abs(block) < NEGLIGIBLE] = 0
        return np.ascontiguousarray(block[:, : upper - lower])

    def tiles(self, start: int, stop: int) -> Iterator[tuple[Rows, Rows, NDArray[np.float32]]]:
        """Cut rows ``start`` to ``stop`` into pieces: (rows after, samples before, float32 matrix) of each.

        They are low where many samples become one, so that a piece stays about as wide as the band.
        """
        height = int(np.clip(16 * round(2 * self.new_size / self.old_size), 16, 64))
        for lower in range(start, stop, height):
            upper = min(stop, lower + height)
            yield (lower, upper), self.inputs(lower, upper), self.dense(lower, upper)


@lru_cache(maxsize=64)
def axis_operator(old_size: int, new_size: int, order: int, reference: Reference = "zoom") -> AxisOperator:
    """The operator of one axis.

    Args:
        old_size: samples before.
        new_size: samples after.
        order: of the spline, 0 to 5.
        reference: ``zoom`` for what nnU-Net resamples together, ``map_coordinates`` for the axis that it resamples
            apart; edges repeat outwards in both.

    Raises:
        ResamplingError: a size below 1 or an unknown order.
    """
    if old_size < 1 or new_size < 1 or order not in range(6):
        raise ResamplingError(
            f"axis of {old_size} samples to {new_size} with a spline of order {order}: "
            "sizes must be at least 1 and the order 0 to 5."
        )
    if old_size == new_size:
        return AxisOperator(old_size, new_size, np.arange(new_size), np.ones((new_size, 1)))
    if order == 0:
        picked = _resample(np.arange(old_size, dtype=float), new_size, order, reference)
        return AxisOperator(old_size, new_size, picked.astype(np.intp), np.ones((new_size, 1)))
    places = old_size / new_size * (np.arange(new_size) + 0.5) - 0.5
    matrix = np.zeros((new_size, old_size))
    for start in range(min(APART, old_size)):  # many unit vectors at once, too far apart to meet
        units = np.zeros(old_size)
        units[start::APART] = 1
        nearest = np.clip(np.rint((places - start) / APART), 0, (old_size - 1 - start) // APART).astype(np.intp)
        matrix[np.arange(new_size), start + APART * nearest] = _resample(units, new_size, order, reference)
    return _banded(matrix, NEGLIGIBLE if order > 1 else 0.0)


def operator_along(scheme: Scheme, axis: int, old_size: int, new_size: int) -> AxisOperator:
    """The operator of one axis under a scheme."""
    apart = axis == scheme.separate_axis
    return axis_operator(old_size, new_size, scheme.order_along(axis), "map_coordinates" if apart else "zoom")


def _resample(samples: NDArray[np.float64], new_size: int, order: int, reference: Reference) -> NDArray[np.float64]:
    """One line of samples through the reference, without the clipping that skimage's resize adds."""
    scale = len(samples) / new_size
    line: NDArray[np.float64]
    if reference == "zoom":
        line = ndimage.zoom(samples, 1 / scale, order=order, mode="nearest", grid_mode=True)
    else:
        places = scale * (np.arange(new_size) + 0.5) - 0.5
        line = ndimage.map_coordinates(samples, places[None], order=order, mode="nearest")
    return line


def _banded(matrix: NDArray[np.float64], negligible: float) -> AxisOperator:
    """Keep of each row what lies between its first and last weight that counts."""
    new_size, old_size = matrix.shape
    counts = np.abs(matrix) > negligible
    first = np.minimum.accumulate(counts.argmax(axis=1)[::-1])[::-1]
    last = old_size - 1 - counts[:, ::-1].argmax(axis=1)
    width = int((last - first).max()) + 1
    first = np.minimum(first, old_size - width)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(width), axis=1)
    return AxisOperator(old_size, new_size, first, weights)


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep matrix products in this thread: the tiles are small, and threads that wait for each other cost more."""
    context: AbstractContextManager[Any] = thread_pools().limit(limits=1, user_api="blas")
    return context
