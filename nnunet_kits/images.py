"""Reading and writing NIfTI volumes: whole, checked, atomic.

A file is read in full and its gzip checksum is verified, so that a truncated or damaged download is never taken for
data. It is decompressed in pieces straight into the array, so that a volume is in memory once. A file is written under
a temporary name in the same folder and renamed when complete, so that a kill leaves either the old file or the new one.
"""

import itertools
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.affines import voxel_sizes
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import DTypeLike, NDArray

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ImageError

AFFINE_TOLERANCE_MM = 1e-2
"""Two affines are the same grid when no corner of the volume lies further apart than this."""

PIECE_BYTES = 4 << 20
"""How much is decompressed, converted and checked at a time; small enough to stay in the processor's cache."""

DAMAGED_GZIP: tuple[type[Exception], ...] = (igzip.BadGzipFile, zlib.error, isal_zlib.error)  # type: ignore[assignment]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a NIfTI file lie, read from its header alone.

    Attributes:
        shape: voxels along the file's own axes; for KiTS that is (slices, rows, columns) = (z, y, x).
        affine: (4, 4) voxel index to RAS millimetres; the sform where its code is set, else the qform.
        spacing_mm: length of a voxel edge along each axis.
        dtype: how the voxels are stored.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    dtype: np.dtype[np.generic]


@dataclass(frozen=True)
class Volume:
    """One NIfTI volume in memory.

    Attributes:
        array: voxels in the file's own axis order and dtype; for KiTS that is (slices, rows, columns) = (z, y, x).
        affine: (4, 4) voxel index to RAS millimetres; the sform where its code is set, else the qform.
        spacing_mm: length of a voxel edge along each axis of ``array``.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis."""
        return self.array.shape


def read_grid(path: Path) -> Grid:
    """Read shape, affine, spacing and dtype from the header; the voxels are neither read nor checked.

    Raises:
        ImageError: missing, empty or damaged file, not a NIfTI image, or not three-dimensional.
    """
    with _decompressed(path) as stream:
        return _read_header(path, stream)[0]


def read_volume(path: Path) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file completely, verifying the gzip checksum.

    Returns:
        The volume; scaled only where the header asks for it (scl_slope, scl_inter), else in the stored dtype.

    Raises:
        ImageError: missing, empty, truncated or damaged file, not a NIfTI image, or not three-dimensional.
    """
    with _decompressed(path) as stream:
        grid, scaling = _read_header(path, stream)
        voxels = _empty(path, grid, grid.dtype)
        for start, piece in _pieces(path, stream, grid):
            voxels[start : start + piece.size] = piece
    if scaling is not None:
        voxels = apply_read_scaling(voxels, *scaling)
    return Volume(voxels.reshape(grid.shape, order="F"), grid.affine, grid.spacing_mm)


def read_integers(path: Path, dtype: DTypeLike) -> Volume | None:
    """Read a file completely and convert it to an integer dtype where, and only where, that loses nothing.

    The file's own values are never in memory as a whole, so a float64 image needs a quarter of its size as int16.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        dtype: an integer dtype.

    Returns:
        The volume in ``dtype``, or None where some value is not an integer within its range.

    Raises:
        ImageError: as :func:`read_volume`, or the file holds NaN or infinite values.
    """
    with _decompressed(path) as stream, np.errstate(invalid="ignore"):
        grid, scaling = _read_header(path, stream)
        voxels = _empty(path, grid, np.dtype(dtype))
        lossless, not_finite = True, 0
        for start, stored in _pieces(path, stream, grid):
            piece = stored if scaling is None else apply_read_scaling(stored, *scaling)
            part = voxels[start : start + piece.size]
            part[:] = piece.astype(dtype)  # wraps where a value does not fit, and then is not equal
            if not np.array_equal(part, piece):
                lossless = False
                not_finite += piece.size - int(np.count_nonzero(np.isfinite(piece)))
    if not_finite:
        raise ImageError(f"{path}: {not_finite} voxels are NaN or infinite. Download or export the file again.")
    return Volume(voxels.reshape(grid.shape, order="F"), grid.affine, grid.spacing_mm) if lossless else None


def read_ct(path: Path) -> Volume:
    """Read an image completely, as int16 where that loses nothing, else as float32.

    The file's own values are never in memory as a whole: KiTS's float64 images of integer HU need a quarter.

    Args:
        path: ``.nii`` or ``.nii.gz``.

    Raises:
        ImageError: as :func:`read_volume`, or the file holds NaN or infinite values.
    """
    not_finite = 0
    with _decompressed(path) as stream, np.errstate(invalid="ignore", over="ignore"):
        grid, scaling = _read_header(path, stream)
        voxels: NDArray[Any] = _empty(path, grid, np.dtype(np.int16))
        for start, stored in _pieces(path, stream, grid):
            piece = stored if scaling is None else apply_read_scaling(stored, *scaling)
            inside = slice(start, start + piece.size)
            if voxels.dtype == np.int16:
                voxels[inside] = piece.astype(np.int16)
                if np.array_equal(voxels[inside], piece):
                    continue
                voxels = voxels.astype(np.float32)
            voxels[inside] = piece
            not_finite += piece.size - int(np.count_nonzero(np.isfinite(voxels[inside])))
    if not_finite:
        raise ImageError(f"{path}: {not_finite} voxels are NaN or infinite. Download or export the file again.")
    return Volume(voxels.reshape(grid.shape, order="F"), grid.affine, grid.spacing_mm)


@dataclass(frozen=True)
class Planes:
    """The planes of a label map that hold anything, out of a file that was read and checked in full.

    Attributes:
        array: shape (first axis, second axis, kept planes) of the file, uint8, every plane from the first to the last
            that holds a voxel above 0; no planes where the file is empty.
        start: index of the first kept plane along the file's third axis.
        grid: of the whole file.
    """

    array: NDArray[np.uint8]
    start: int
    grid: Grid


def read_label_planes(path: Path) -> Planes:
    """Read a label map, keeping only the planes along its slowest axis that hold foreground.

    The whole file is decompressed and its checksum verified, but the background is never in memory.

    Raises:
        ImageError: as :func:`read_volume`, or a value that is no label from 0 to 255.
    """
    kept: list[NDArray[np.uint8]] = []
    start, empty_since = 0, 0
    with _decompressed(path) as stream, np.errstate(invalid="ignore"):
        grid, scaling = _read_header(path, stream)
        plane = grid.shape[0] * grid.shape[1]
        for index, stored in _planes(path, stream, grid):
            values = stored if scaling is None else apply_read_scaling(stored, *scaling)
            labels = values.astype(np.uint8, copy=False)
            if values.dtype != np.uint8 and not np.array_equal(labels, values):
                raise ImageError(f"{path}: holds {_first_foreign(values)}, but labels are integers from 0 to 255.")
            blocks = labels.reshape(-1, plane)
            if not labels.max():
                empty_since += len(blocks)
                continue
            hit = np.flatnonzero(blocks.max(axis=1))
            if kept:
                kept.append(np.zeros((empty_since, plane), np.uint8))
            else:
                start, blocks, hit = index + int(hit[0]), blocks[hit[0] :], hit - hit[0]
            kept.append(blocks[: hit[-1] + 1].copy())
            empty_since = len(blocks) - 1 - int(hit[-1])
    joined = np.concatenate(kept) if kept else np.empty((0, plane), np.uint8)
    return Planes(joined.reshape(len(joined), grid.shape[1], grid.shape[0]).T, start, grid)


def _first_foreign(values: NDArray[np.generic]) -> str:
    """One of the values that are no labels."""
    with np.errstate(invalid="ignore"):
        return str(values[values != values.astype(np.uint8)][0])


def _planes(path: Path, stream: BufferedIOBase, grid: Grid) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Index of the first plane and stored values of consecutive runs of whole planes; then the rest of the file."""
    plane, count = grid.shape[0] * grid.shape[1], grid.shape[2]
    size = plane * grid.dtype.itemsize
    step = max(1, PIECE_BYTES // size)
    for index in range(0, count, step):
        wanted = min(step, count - index) * size
        raw = stream.read(wanted)
        if len(raw) < wanted:
            raise ImageError(
                f"{path}: {index * size + len(raw)} bytes of voxels, but {grid.shape} of {grid.dtype} need "
                f"{count * size}. The file is incomplete: download it again."
            )
        yield index, np.frombuffer(raw, grid.dtype)
    while stream.read(PIECE_BYTES):
        pass


def write_volume(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], compression: int = 2) -> None:
    """Write a volume as NIfTI-1 under a temporary name, then rename it to ``path``.

    Both the sform and the qform are set (code 1, scanner coordinates), so that every reader finds the same grid.
    An affine with shears has no qform: then only the sform is set.

    Args:
        path: target; ``.nii.gz`` is compressed, ``.nii`` is not.
        array: three-dimensional, in the axis order that ``affine`` describes; its dtype is stored as it is.
        affine: (4, 4) voxel index to RAS millimetres.
        compression: level 0 to 3 of Intel's igzip; 2 is about three times faster than zlib's level 1.

    Raises:
        ImageError: the affine is singular.
    """
    if not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError(f"{path}: the affine {np.asarray(affine).tolist()} is singular, so no grid can be written.")
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    image = nib.Nifti1Image(array, affine, header)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    if _corner_distance_mm(array.shape, affine, image.get_qform()) > AFFINE_TOLERANCE_MM:
        image.set_qform(affine, code=0)
    with atomic_path(path) as temporary:
        if path.name.endswith(".gz"):
            with open(temporary, "wb") as handle, igzip.IGzipFile("", "wb", compression, handle, mtime=0) as stream:
                image.to_stream(stream)
        else:
            with open(temporary, "wb") as handle:
                image.to_stream(handle)


def check_same_grid(case: str, image: Volume | Grid, label: Volume | Grid) -> None:
    """Refuse an image and a label map that do not lie on the same voxel grid.

    Raises:
        ImageError: different shape or affine.
    """
    if image.shape != label.shape:
        raise ImageError(
            f"{case}: the image is {image.shape} but the label map is {label.shape} voxels. "
            "Both must lie on one grid: download the case again."
        )
    difference = _corner_distance_mm(image.shape, image.affine, label.affine)
    if not difference <= AFFINE_TOLERANCE_MM:
        raise ImageError(
            f"{case}: the affines of image and label map differ by up to {difference:.4g} mm "
            f"(allowed {AFFINE_TOLERANCE_MM} mm). Both must lie on one grid: download the case again."
        )


def _corner_distance_mm(shape: tuple[int, ...], a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The furthest that two affines place the same corner voxel apart; NaN where an affine holds NaN."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, n - 1) for n in shape))], dtype=float)
    return float(np.linalg.norm((corners @ (np.asarray(a) - np.asarray(b)).T)[:, :3], axis=1).max())


@contextmanager
def _decompressed(path: Path) -> Iterator[BufferedIOBase]:
    """The file's content as a stream; every way of being unreadable becomes one ImageError."""
    try:
        with open(path, "rb") as handle:
            if path.name.endswith(".gz"):
                with igzip.IGzipFile(fileobj=handle, mode="rb") as stream:
                    yield stream
            else:
                yield handle
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file.") from error
    except EOFError as error:
        raise ImageError(f"{path}: the gzip file is truncated. Download it again.") from error
    except DAMAGED_GZIP as error:
        raise ImageError(f"{path}: the gzip file is damaged ({error}). Download it again.") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _read_header(path: Path, stream: BufferedIOBase) -> tuple[Grid, tuple[float, float] | None]:
    """Grid and (slope, intercept), None for no scaling; leaves the stream at the first voxel."""
    raw = stream.read(348)
    if not raw:
        raise ImageError(f"{path}: the file is empty. Download or export it again.")
    try:
        header = nib.Nifti1Header.from_fileobj(BytesIO(raw))
        shape = tuple(int(n) for n in header.get_data_shape())
        slope, intercept = header.get_slope_inter()
        dtype = header.get_data_dtype()
        affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        offset = int(header.get_data_offset())
        if header["magic"].item() != b"n+1" or offset < len(raw):
            raise ValueError(f"magic {header['magic'].item()!r}, voxels at byte {offset}")
    except Exception as error:  # nibabel raises several unrelated types on a bad header
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"{path}: not a NIfTI image ({reason}). Download or export the file again.") from error
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(
            f"{path}: the image has {len(shape)} dimensions {shape}, but a CT volume or label map has 3. "
            "Split or squeeze it first."
        )
    stream.read(offset - len(raw))
    x, y, z = (float(s) for s in voxel_sizes(affine))
    scaling = None if (slope, intercept) in {(None, None), (1.0, 0.0)} else (float(slope), float(intercept))
    return Grid(shape, affine, (x, y, z), dtype), scaling


def _empty(path: Path, grid: Grid, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Room for all voxels of a grid, in the file's order."""
    count = int(np.prod(grid.shape, dtype=object))
    try:
        return np.empty(count, dtype)
    except (MemoryError, ValueError) as error:
        raise ImageError(
            f"{path}: {grid.shape} voxels need {count * dtype.itemsize / 1e9:.1f} GB of memory, more than there is."
        ) from error


def _pieces(path: Path, stream: BufferedIOBase, grid: Grid) -> Iterator[tuple[int, NDArray[np.generic]]]:
    """Start index and stored values of consecutive runs of voxels; then the rest of the file, for its checksum."""
    count, size = int(np.prod(grid.shape, dtype=object)), grid.dtype.itemsize
    step = PIECE_BYTES // size
    for start in range(0, count, step):
        wanted = min(step, count - start) * size
        raw = stream.read(wanted)
        if len(raw) < wanted:
            raise ImageError(
                f"{path}: {start * size + len(raw)} bytes of voxels, but {grid.shape} of {grid.dtype} need "
                f"{count * size}. The file is incomplete: download it again."
            )
        yield start, np.frombuffer(raw, grid.dtype)
    while stream.read(PIECE_BYTES):
        pass
