"""Reading and writing NIfTI volumes: whole, checked, atomic.

A file is read in full and its gzip checksum is verified, so that a truncated or damaged download is never taken for
data. A file is written under a temporary name in the same folder and renamed when complete, so that a kill leaves
either the old file or the new one.
"""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError

AFFINE_TOLERANCE_MM = 1e-3
"""Two affines are the same grid when no entry differs by more than this."""


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


def read_volume(path: Path) -> Volume:
    """Read a ``.nii`` or ``.nii.gz`` file completely, verifying the gzip checksum.

    Returns:
        The volume; scaled only where the header asks for it (scl_slope, scl_inter), else in the stored dtype.

    Raises:
        ImageError: missing, empty, truncated or damaged file, not a NIfTI image, or not three-dimensional.
    """
    raw = _read_bytes(path)
    try:
        image = nib.Nifti1Image.from_bytes(raw) if len(raw) else None
    except Exception as error:  # nibabel raises several unrelated types on a bad header
        raise ImageError(f"{path}: not a NIfTI image ({error}). Download or export the file again.") from error
    if image is None:
        raise ImageError(f"{path}: the file is empty. Download or export it again.")
    shape = image.shape
    if len(shape) != 3:
        raise ImageError(
            f"{path}: the image has {len(shape)} dimensions {shape}, but a CT volume or label map has 3. "
            "Split or squeeze it first."
        )
    array = _voxels(path, raw, image)
    x, y, z = (float(s) for s in image.header.get_zooms()[:3])
    return Volume(array, np.asarray(image.affine, dtype=np.float64), (x, y, z))


def write_volume(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], compression: int = 2) -> None:
    """Write a volume as NIfTI-1 under a temporary name, then rename it to ``path``.

    Both the sform and the qform are set (code 1, scanner coordinates), so that every reader finds the same grid.

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
    with atomic_path(path) as temporary:
        if path.name.endswith(".gz"):
            with open(temporary, "wb") as handle, igzip.IGzipFile("", "wb", compression, handle, mtime=0) as stream:
                image.to_stream(stream)
        else:
            with open(temporary, "wb") as handle:
                image.to_stream(handle)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``path``; rename it to ``path`` when the block ends well, else delete it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_same_grid(case: str, image: Volume, label: Volume) -> None:
    """Refuse an image and a label map that do not lie on the same voxel grid.

    Raises:
        ImageError: different shape or affine.
    """
    if image.array.shape != label.array.shape:
        raise ImageError(
            f"{case}: the image is {image.array.shape} but the label map is {label.array.shape} voxels. "
            "Both must lie on one grid: download the case again."
        )
    difference = float(np.abs(image.affine - label.affine).max())
    if not difference <= AFFINE_TOLERANCE_MM:
        raise ImageError(
            f"{case}: the affines of image and label map differ by up to {difference:.4g} mm "
            f"(allowed {AFFINE_TOLERANCE_MM} mm). Both must lie on one grid: download the case again."
        )


def _read_bytes(path: Path) -> bytes:
    """File content, decompressed where the name says so."""
    try:
        if not path.name.endswith(".gz"):
            return path.read_bytes()
        with igzip.open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file.") from error
    except EOFError as error:
        raise ImageError(f"{path}: the gzip file is truncated. Download it again.") from error
    except (igzip.BadGzipFile, zlib.error, igzip.isal_zlib.error) as error:
        raise ImageError(f"{path}: the gzip file is damaged ({error}). Download it again.") from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error}).") from error


def _voxels(path: Path, raw: bytes, image: nib.Nifti1Image) -> NDArray[np.generic]:
    """The voxel array without a second copy where no scaling is asked for."""
    header = image.header
    proxy = image.dataobj
    if (proxy.slope, proxy.inter) != (1.0, 0.0):
        return np.asanyarray(nib.Nifti1Image.from_stream(BytesIO(raw)).dataobj)
    dtype = header.get_data_dtype()
    count = int(np.prod(image.shape))
    offset = int(proxy.offset)
    if len(raw) < offset + count * dtype.itemsize:
        raise ImageError(
            f"{path}: {len(raw) - offset} bytes of voxels, but {image.shape} of {dtype} need "
            f"{count * dtype.itemsize}. The file is incomplete: download it again."
        )
    return np.frombuffer(raw, dtype, count, offset).reshape(image.shape, order="F")
