"""Resampling images: axis after axis, a slab at a time, clipped to the input's range as nnU-Net's default does."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ResamplingError
from nnunet_kits.resampling.operators import AxisOperator, Rows, one_blas_thread, operator_along
from nnunet_kits.resampling.scheme import Scheme

Range = tuple[float, float]
"""The smallest and the largest value."""

SLAB_BYTES = 48 << 20
"""About how much is worked on at a time beside input and result."""


def resample_volume(
    array: NDArray[Any],
    new_shape: Sequence[int],
    scheme: Scheme,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Resample one volume as nnU-Net's ``resample_data_or_seg_to_shape`` does for images and logits.

    Results are cut to the volume's range, or, where an axis is resampled apart, each plane's across it to its own.

    Args:
        array: (z, y, x) of real numbers, in any memory order.
        new_shape: (z, y, x) of the result.
        scheme: how to interpolate, see :func:`nnunet_kits.resampling.scheme.scheme_of`.
        out: (z, y, x) float32 to write into.

    Returns:
        float32 (z, y, x).

    Raises:
        ResamplingError: not three-dimensional, empty, or holds NaN or infinite values, which a spline would spread.

    Source: nnunetv2.preprocessing.resampling.default_resampling.resample_data_or_seg, version 2.8.1.
    """
    whole = check_shapes(array.shape, new_shape)
    result = np.empty(whole, np.float32) if out is None else out
    low, high = _range(array)
    if not np.isfinite([low, high]).all():
        raise ResamplingError(
            f"volume of {array.shape} voxels: its range is {low} to {high}, but only finite values can be resampled. "
            "Replace NaN and infinite voxels."
        )
    if array.shape == whole:
        result[...] = array
        return result
    first = scheme.separate_axis or 0
    axes = [first, *(axis for axis in range(3) if axis != first)]
    operators = [operator_along(scheme, axis, array.shape[axis], whole[axis]) for axis in axes]
    job = _Job(
        source=array.transpose(axes),
        target=result.transpose(axes),
        operators=(operators[0], operators[1], operators[2]),
        clip=None if scheme.separate_axis is not None else (low, high),
    )
    with one_blas_thread():
        if job.operators[0].is_selection:
            _selected_planes(job)
        elif scheme.separate_axis is None and _cheaper_across_first(job):
            _across_first(job)
        else:
            _planes_first(job)
    return result


def check_shapes(old: Sequence[int], new: Sequence[int]) -> tuple[int, int, int]:
    """The new shape as plain integers.

    Raises:
        ResamplingError: not three axes, or an empty one.
    """
    if len(old) != 3 or len(new) != 3 or min(*old, *new) < 1:
        raise ResamplingError(f"volume of {tuple(old)} voxels to {tuple(new)}: both need three axes of at least 1.")
    z, y, x = (int(size) for size in new)
    return z, y, x


@dataclass(frozen=True)
class _Job:
    """One volume to resample, its axes turned so that a separate axis comes first.

    Attributes:
        source: before.
        target: after.
        operators: of each axis.
        clip: range for all, or None for each plane's own, applied before the first axis is resampled.
    """

    source: NDArray[Any]
    target: NDArray[np.float32]
    operators: tuple[AxisOperator, AxisOperator, AxisOperator]
    clip: Range | None


def _range(array: NDArray[Any]) -> Range:
    return float(array.min()), float(array.max())


def _cheaper_across_first(job: _Job) -> bool:
    """Whether the first axis is better resampled before the planes across it than after: it gets shorter."""
    before, after = float(len(job.source)), float(len(job.target))
    plane_before, plane_after = job.source[0].size, job.target[0].size
    planes_work = plane_before + plane_after
    return bool(after * (plane_before + planes_work) < before * planes_work + after * plane_after)


def _across_first(job: _Job) -> None:
    """Resample along the first axis a slab at a time, then each plane of the slab."""
    operator = job.operators[0]
    for lower, upper in slabs(len(job.target), job.source[0].nbytes):
        needed = slice(*operator.inputs(lower, upper))
        mixed = _mix(operator, (lower, upper), np.ascontiguousarray(job.source[needed], dtype=np.float32))
        _resample_planes(job, mixed, job.target[lower:upper])
        _cut(job.target[lower:upper], job.clip)


def _selected_planes(job: _Job) -> None:
    """Resample the planes that the first axis keeps, each once, and repeat those that it repeats."""
    picked = job.operators[0].first
    fresh = np.flatnonzero(np.diff(picked, prepend=-1))
    _resample_planes(job, [job.source[plane] for plane in picked[fresh]], [job.target[place] for place in fresh])
    for place in range(1, len(picked)):
        if picked[place] == picked[place - 1]:
            job.target[place] = job.target[place - 1]
    _cut(job.target, job.clip)


def _planes_first(job: _Job) -> None:
    """Resample each plane once, and along the first axis as soon as a slab's planes are there."""
    operator = job.operators[0]
    kept = np.empty((0, *job.target.shape[1:]), np.float32)
    begin = 0
    for lower, upper in slabs(len(job.target), job.target[0].nbytes):
        first, last = operator.inputs(lower, upper)
        planes = np.empty((last - first, *job.target.shape[1:]), np.float32)
        have = max(0, begin + len(kept) - first)
        planes[:have] = kept[first - begin :]
        _resample_planes(job, job.source[first + have : last], planes[have:])
        target = job.target[lower:upper]
        _mix(operator, (lower, upper), planes, target)
        _cut(target, job.clip)
        kept, begin = planes, first


def slabs(count: int, plane_bytes: int) -> Iterator[Rows]:
    """Cut planes into slabs of about :data:`SLAB_BYTES`."""
    height = int(np.clip(SLAB_BYTES // max(1, plane_bytes), 16, 256))
    for lower in range(0, count, height):
        yield lower, min(count, lower + height)


def _mix(
    operator: AxisOperator, rows: Rows, planes: NDArray[np.float32], out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Apply an operator along the first axis to the planes that some of its rows need."""
    result = np.empty((rows[1] - rows[0], *planes.shape[1:]), np.float32) if out is None else out
    begin = operator.inputs(*rows)[0]
    for (lower, upper), (first, last), matrix in operator.tiles(*rows):
        flat = planes[first - begin : last - begin].reshape(last - first, -1)
        target = result[lower - rows[0] : upper - rows[0]]
        if target.flags.c_contiguous:
            np.matmul(matrix, flat, out=target.reshape(upper - lower, -1))
        else:
            target[...] = (matrix @ flat).reshape(target.shape)
    return result


def _resample_planes(job: _Job, planes: Iterable[NDArray[Any]], out: Iterable[NDArray[np.float32]]) -> None:
    """Resample the two axes of each plane, the one that shortens it more first."""
    rows, columns = job.operators[1:]
    row_tiles, column_tiles = list(rows.tiles(0, rows.new_size)), list(columns.tiles(0, columns.new_size))
    rows_first = rows.new_size / rows.old_size <= columns.new_size / columns.old_size
    half_shape = (rows.new_size, columns.old_size) if rows_first else (rows.old_size, columns.new_size)
    half = np.empty(half_shape, np.float32)
    for plane, target in zip(planes, out, strict=True):
        values = np.ascontiguousarray(plane, dtype=np.float32)
        result = target if target.flags.c_contiguous else np.empty(target.shape, np.float32)
        if rows_first:
            _down(row_tiles, rows.is_identity, values, half)
            _across(column_tiles, columns.is_identity, half, result)
        else:
            _across(column_tiles, columns.is_identity, values, half)
            _down(row_tiles, rows.is_identity, half, result)
        if job.clip is None:
            _cut(result, _range(values))
        if result is not target:
            target[...] = result


def _down(tiles: list[Any], identity: bool, values: NDArray[Any], out: NDArray[Any]) -> None:
    """Apply an operator's tiles along the rows of one plane."""
    if identity:
        out[...] = values
        return
    for (lower, upper), (first, last), matrix in tiles:
        np.matmul(matrix, values[first:last], out=out[lower:upper])


def _across(tiles: list[Any], identity: bool, values: NDArray[Any], out: NDArray[Any]) -> None:
    """Apply an operator's tiles along the columns of one plane."""
    if identity:
        out[...] = values
        return
    for (lower, upper), (first, last), matrix in tiles:
        np.matmul(values[:, first:last], matrix.T, out=out[:, lower:upper])


def _cut(values: NDArray[np.float32], limits: Range | None) -> None:
    """Clip in place."""
    if limits is not None:
        np.clip(values, np.float32(limits[0]), np.float32(limits[1]), out=values)
