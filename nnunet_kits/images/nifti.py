"""Reading and writing NIfTI volumes: whole, checked, atomic.

A file is read in full and its gzip checksum is verified, so that a truncated or damaged download is never taken for
data. It is decompressed in pieces straight into the array, so that a volume is in memory once. A file is written under
a temporary name in the same folder and renamed when complete, so that a kill leaves either the old file or the new one.
"""

import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.volumeutils import apply_read_scaling
from numpy.typing import DTypeLike, NDArray

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ImageError
from nnunet_kits.images.grid import AFFINE_TOLERANCE_MM, Grid, is_singular
from nnunet_kits.images.label_names import names_in_header
from nnunet_kits.images.voxels import converted, room

NIFTI = (".nii.gz", ".nii")
"""Endings of NIfTI files."""

PIECE_BYTES = 4 << 20
"""How much is decompressed, converted and checked at a time; small enough to stay in the processor's cache."""

EXTENSION_BYTES = 1 << 20
"""So much of what stands between header and voxels is looked at."""

CONTRADICTION_MM = 1.0
"""A qform that lays no corner further than this from where the sform does is the same, rounded."""

CONTRADICTION_SHARE = 0.01
"""So much may the spacing of a header differ from that of its affine."""

COMPRESSION = 2
"""Of Intel's igzip, which has 0 to 3: about three times faster than zlib's level 1."""

DAMAGED_GZIP: tuple[type[Exception], ...] = (igzip.BadGzipFile, zlib.error, isal_zlib.error)  # type: ignore[assignment]


@dataclass(frozen=True)
class Volume:
    """One volume in memory.

    Attributes:
        array: voxels in the file's own axis order; for KiTS that is (slices, rows, columns) = (z, y, x).
        grid: where they lie, and how they were stored.
    """

    array: NDArray[np.generic]
    grid: Grid

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS millimetres."""
        return self.grid.affine


@dataclass(frozen=True)
class NiftiStream:
    """A file that is open at its first voxel.

    Attributes:
        path: of the file.
        grid: from its header.
        scaling: slope and intercept that make its values of the stored ones; None where they are the same.
        stream: the rest of it, decompressed.
        names: value and name of labels, where the header has a table of them.
    """

    path: Path
    grid: Grid
    scaling: tuple[float, float] | None
    stream: BufferedIOBase
    names: tuple[tuple[int, str], ...] = ()

    def values_of(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Scale stored numbers, where the header asks for it."""
        return stored if self.scaling is None else np.asarray(apply_read_scaling(stored, *self.scaling))

    def room(self, dtype: DTypeLike) -> NDArray[Any]:
        """An array for all voxels, flat, in the file's order.

        Raises:
            ImageError: more than there is memory for.
        """
        return room(self.grid.shape, dtype, self.path)

    def runs(
        self, piece_bytes: int, unit: int = 1, skip_zeros: bool = False
    ) -> Iterator[tuple[int, NDArray[np.generic]]]:
        """Read to the end, so that the checksum is verified too.

        Args:
            piece_bytes: how much to decompress at a time.
            unit: voxels of which a run holds a whole number, for example those of a plane.
            skip_zeros: leave out runs in which every value is 0.

        Yields:
            Index of the first voxel in the file's order, and the values of the run.

        Raises:
            ImageError: fewer voxels than the header says, or more.
        """
        dtype, count = self.grid.dtype, int(np.prod(self.grid.shape, dtype=object))
        step = max(1, piece_bytes // (unit * dtype.itemsize)) * unit
        zeros = bytes(step * dtype.itemsize) if skip_zeros and (self.scaling is None or self.scaling[1] == 0) else None
        for start in range(0, count, step):
            wanted = min(step, count - start) * dtype.itemsize
            raw = self.stream.read(wanted)
            if len(raw) < wanted:
                raise ImageError(
                    f"{self.path}: {start * dtype.itemsize + len(raw)} bytes of voxels, but {self.grid.shape} of "
                    f"{dtype} need {count * dtype.itemsize}. The file is incomplete: download it again."
                )
            if zeros is None or raw != zeros[:wanted]:
                yield start, self.values_of(np.frombuffer(raw, dtype))
        more = 0
        while piece := self.stream.read(piece_bytes):
            more += len(piece)
        if more:
            raise ImageError(
                f"{self.path}: its header states {self.grid.shape} voxels of {dtype}, but the file holds {more} bytes "
                "more, so every voxel may lie in a wrong place. Export it again."
            )


@contextmanager
def quiet_nibabel() -> Iterator[None]:
    """Without nibabel's lines on standard error of what it mends in a header; what it cannot, it raises."""
    level = nib.imageglobals.logger.level
    nib.imageglobals.logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        nib.imageglobals.logger.setLevel(level)


@contextmanager
def open_nifti(path: Path) -> Iterator[NiftiStream]:
    """Open a ``.nii`` or ``.nii.gz`` file and read its header.

    Raises:
        ImageError: every way of being unreadable, whenever it shows; not a NIfTI image; not three-dimensional.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # opening a named pipe would wait for ever
        raise ImageError(f"{path}: cannot be read (a pipe or a device, not a file).")
    try:
        with open(path, "rb") as handle:
            if path.name.endswith(".gz"):
                with igzip.IGzipFile(fileobj=handle, mode="rb") as stream:
                    yield _after_header(path, stream)
            else:
                yield _after_header(path, handle)
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file.") from error
    except EOFError as error:
        raise ImageError(f"{path}: the gzip file is truncated. Download it again.") from error
    except DAMAGED_GZIP as error:
        raise ImageError(f"{path}: the gzip file is damaged ({error}). Download it again.") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror or error}).") from error


def read_grid(path: Path) -> Grid:
    """Read shape, affine, spacing and dtype from the header; the voxels are neither read nor checked.

    Raises:
        ImageError: missing, empty or damaged file, not a NIfTI image, or not three-dimensional.
    """
    with open_nifti(path) as file:
        return file.grid


def read_volume(path: Path) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file completely, verifying the gzip checksum.

    Returns:
        The volume; scaled only where the header asks for it (scl_slope, scl_inter), else in the stored dtype.

    Raises:
        ImageError: missing, empty, truncated or damaged file, not a NIfTI image, or not three-dimensional.
    """
    with open_nifti(path) as file:
        voxels = file.room(file.values_of(np.empty(0, file.grid.dtype)).dtype)
        for start, values in file.runs(PIECE_BYTES):
            voxels[start : start + values.size] = values
    return Volume(voxels.reshape(file.grid.shape, order="F"), file.grid)


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
    return _converted(path, np.dtype(dtype), None)


def read_ct(path: Path) -> Volume:
    """Read an image completely, as int16 where that loses nothing, else as float32.

    The file's own values are never in memory as a whole: KiTS's float64 images of integer HU need a quarter.

    Args:
        path: ``.nii`` or ``.nii.gz``.

    Raises:
        ImageError: as :func:`read_volume`, or the file holds NaN or infinite values.
    """
    volume = _converted(path, np.dtype(np.int16), np.dtype(np.float32))
    assert volume is not None  # there is a second dtype
    return volume


def _converted(path: Path, dtype: np.dtype[Any], otherwise: np.dtype[Any] | None) -> Volume | None:
    """Read a file as one dtype where that loses nothing, else as another; None where there is no other."""
    with open_nifti(path) as file:
        voxels = converted(file.runs(PIECE_BYTES), file.grid.shape, path, dtype, otherwise)
    return None if voxels is None else Volume(voxels.reshape(file.grid.shape, order="F"), file.grid)


def write_volume(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a volume as NIfTI-1 under a temporary name, then rename it to ``path``.

    Both the sform and the qform are set (code 1, scanner coordinates), so that every reader finds the same grid.
    An affine with shears has no qform: then only the sform is set.

    Args:
        path: target; ``.nii.gz`` is compressed, ``.nii`` is not.
        array: three-dimensional, in the axis order that ``affine`` describes; its dtype is stored as it is.
        affine: (4, 4) voxel index to RAS millimetres.

    Raises:
        ImageError: the affine is singular.
    """
    if is_singular(affine):
        raise ImageError(f"{path}: the affine {np.asarray(affine).tolist()} is singular, so no grid can be written.")
    header = nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    image = nib.Nifti1Image(array, affine, header)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    first, second, third = array.shape
    if Grid((first, second, third), affine, array.dtype).distance_mm(image.get_qform()) > AFFINE_TOLERANCE_MM:
        image.set_qform(affine, code=0)
    with atomic_path(path) as temporary:
        if path.name.endswith(".gz"):
            with open(temporary, "wb") as handle, igzip.IGzipFile("", "wb", COMPRESSION, handle, mtime=0) as stream:
                image.to_stream(stream)
        else:
            with open(temporary, "wb") as handle:
                image.to_stream(handle)


def _after_header(path: Path, stream: BufferedIOBase) -> NiftiStream:
    """Read the header and leave the stream at the first voxel.

    The affine is the sform where its code is set, else the qform where its code is set, else nibabel's guess of
    spacing and centre.
    """
    raw = stream.read(348)
    if not raw:
        raise ImageError(f"{path}: the file is empty. Download or export it again.")
    try:
        if raw[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
            raise ValueError("it is NIfTI-2; save it as NIfTI-1")
        with quiet_nibabel():
            header = nib.Nifti1Header.from_fileobj(BytesIO(raw))
        shape = tuple(int(n) for n in header.get_data_shape())
        slope, intercept = header.get_slope_inter()
        dtype = header.get_data_dtype()
        with np.errstate(invalid="ignore"):  # of spacings that are no numbers
            affine = np.asarray(header.get_best_affine(), dtype=np.float64)
        placed = bool(header["sform_code"] > 0 or header["qform_code"] > 0)
        offset = int(header.get_data_offset())
        order = header.endianness
        pixdim = np.frombuffer(raw, f"{order}f4", 3, offset=80)  # nibabel makes 1 of 0
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
    if dtype.kind not in "iuf":
        raise ImageError(
            f"{path}: its voxels are stored as {dtype}, but a CT volume or label map holds one real number each. "
            "Convert it first."
        )
    if is_singular(affine):
        raise ImageError(
            f"{path}: its affine {affine.tolist()} gives voxels no size or no place, so nothing can be measured or put "
            "on its grid. Export the file again, or copy the affine of a file on the same voxels."
        )
    if not all(pixdim):
        raise ImageError(
            f"{path}: its header states voxels of {' x '.join(f'{edge:g}' for edge in pixdim)} mm. "
            "Export the file again."
        )
    extension = stream.read(min(offset - len(raw), EXTENSION_BYTES))
    left = offset - len(raw) - len(extension)
    while left > 0 and (piece := stream.read(min(left, PIECE_BYTES))):
        left -= len(piece)
    scaling = None if (slope, intercept) in {(None, None), (1.0, 0.0)} else (float(slope), float(intercept))
    grid = Grid((shape[0], shape[1], shape[2]), affine, dtype, placed)
    grid = replace(grid, note=_contradiction(grid, header))
    return NiftiStream(path, grid, scaling, stream, tuple(names_in_header(extension)))


def _contradiction(grid: Grid, header: nib.Nifti1Header) -> str:
    """What a header says twice and differently: places by sform and qform, or lengths by affine and spacing."""
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        try:
            apart = grid.distance_mm(header.get_qform())
        except ValueError:  # no rotation
            apart = np.nan
        if not apart <= CONTRADICTION_MM:
            far = "in other places" if np.isnan(apart) else f"up to {apart:.0f} mm away"
            return f"the header's qform lays the voxels {far} from where its sform does, which is taken"
    stated = [float(edge) for edge in header.get_zooms()]
    if grid.placed and not np.allclose(stated, grid.spacing_mm, rtol=CONTRADICTION_SHARE):
        told = [" x ".join(f"{edge:.3g}" for edge in edges) for edges in (stated, grid.spacing_mm)]
        return f"the header's spacing is {told[0]} mm, but its affine's is {told[1]} mm: measures are by the affine"
    return ""
