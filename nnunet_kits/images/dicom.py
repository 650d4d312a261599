"""Reading a DICOM series as a volume of HU, on the grid that its slices state.

The array, its axes and its affine are those of a NIfTI file that SimpleITK would write of the same series. Voxels that
were never measured (the pixel padding value) keep the number they have, as there.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError
from nnunet_kits.images.frames import NATIVE, Frame, Header, need_pydicom
from nnunet_kits.images.grid import Grid
from nnunet_kits.images.nifti import Volume
from nnunet_kits.images.series import Series
from nnunet_kits.images.voxels import joined


@dataclass(frozen=True)
class SeriesVolume(Volume):
    """A series in memory.

    Attributes:
        array: (columns, rows, slices), int16 HU where that loses nothing, else float32.
        series: with its slices in the array's order.
        note: how it was resampled; empty where every voxel is one of the series.
    """

    series: Series
    note: str = ""


def series_grid(series: Series) -> Grid:
    """Where the voxels of a series lie, from its headers alone.

    Raises:
        ImageError: its slices are no grid.
    """
    if series.use == "never" or series.uneven:
        raise ImageError(f"series {series.index} cannot be read as it is: {series.reason}.")
    return stored_grid(series)


def stored_grid(series: Series) -> Grid:
    """Where the voxels of a series would lie if its slices were a grid; they may lean, or lie at uneven distances.

    Raises:
        ImageError: its slices state no place.
    """
    stack = series.stack
    if stack is None:
        raise ImageError(f"series {series.index} cannot be read: {series.reason}.")
    return Grid(series.shape, stack.affine(), _stored_dtype(series.frames[0].file))


def read_series(series: Series, resample: bool = False) -> SeriesVolume:
    """Read all slices of a series.

    Args:
        series: see :func:`~nnunet_kits.images.series.choose_series`.
        resample: put slices that lean, or that lie at uneven distances, on a grid that does neither; else they are
            refused.

    Raises:
        ImageError: a damaged file, named; a series that cannot be read as a volume.
        KitsError: what its compression needs is not installed.
    """
    if resample and series.uneven:
        from nnunet_kits.images.resampled import resampled  # with scipy, which else nothing here needs

        array, affine, note = resampled(series, _slices(series.frames))
        shape = (int(array.shape[0]), int(array.shape[1]), int(array.shape[2]))
        return SeriesVolume(array, Grid(shape, affine, array.dtype), series, note)
    grid = series_grid(series)
    flat = joined(_slices(series.frames), grid.shape, f"series {series.index}")
    return SeriesVolume(flat, grid, series)


def read_headers(series: Series) -> list[Any]:
    """The data sets of a series' files without voxels, in the order of its slices: what refers to it needs them.

    Raises:
        ImageError: a file that cannot be read any more.
    """
    pydicom = need_pydicom()
    try:
        return [pydicom.dcmread(path, force=True, stop_before_pixels=True) for path in series.files]
    except Exception as error:  # pydicom raises many types
        raise ImageError(f"a file of series {series.index} cannot be read any more ({error}).") from error


def _slices(frames: Sequence[Frame]) -> Iterator[NDArray[Any]]:
    """HU of each slice, (rows, columns)."""
    last: Header | None = None
    opened: Any = None
    for frame in frames:
        if frame.file.offset is None and frame.file is not last:
            last, opened = frame.file, _opened(frame.file)
        assert frame.rescale is not None  # such a series is never read
        slope, intercept = frame.rescale
        stored = _stored(frame, opened)
        if (slope, intercept) == (1.0, 0.0):
            yield stored
        elif slope.is_integer() and intercept.is_integer():
            yield stored.astype(np.int64) * int(slope) + int(intercept)
        else:
            yield stored * slope + intercept


def _opened(file: Header) -> Any:
    """The data set of a file whose voxels are compressed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return need_pydicom().dcmread(file.path, force=True)
    except Exception as error:  # pydicom raises many types
        raise ImageError(f"{file.path}: cannot be read as DICOM ({error}). Copy or export it again.") from error


def _stored(frame: Frame, opened: Any) -> NDArray[Any]:
    """The numbers of a slice as the file holds them, (rows, columns)."""
    file = frame.file
    try:
        found = _native(frame) if file.offset is not None else _decoded(frame, opened)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"{file.path}: its voxels cannot be read ({error}). Copy or export it again.") from error
    if found.shape != (file.rows, file.columns):
        raise ImageError(
            f"{file.path}: its voxels are {found.shape}, but its header says {(file.rows, file.columns)}. "
            "Export it again."
        )
    return found


def _native(frame: Frame) -> NDArray[Any]:
    """Of voxels that stand in the file as they are; bits beside the stored ones are cleared."""
    file, (allocated, stored, high) = frame.file, frame.file.bits
    order = ">" if file.syntax == NATIVE[2] else "<"
    dtype = np.dtype(f"{order}{'i' if file.signed else 'u'}{allocated // 8}")
    count = file.rows * file.columns
    assert file.offset is not None
    found = np.fromfile(file.path, dtype, count, offset=file.offset + frame.index * count * dtype.itemsize)
    if len(found) < count:
        raise EOFError(f"{len(found)} of {count} voxels")
    if (stored, high) != (allocated, allocated - 1):
        found = np.right_shift(np.left_shift(found, allocated - 1 - high), allocated - stored)
    return found.reshape(file.rows, file.columns)


def _decoded(frame: Frame, opened: Any) -> NDArray[Any]:
    """Of compressed voxels, by pydicom's plugins."""
    from pydicom.pixels.utils import pixel_array

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found: NDArray[Any] = pixel_array(opened, index=frame.index)
    except Exception as error:  # the plugins raise many types
        raise ValueError(str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return found


def _stored_dtype(file: Header) -> np.dtype[Any]:
    return np.dtype(f"{'i' if file.signed else 'u'}{file.bits[0] // 8}")
