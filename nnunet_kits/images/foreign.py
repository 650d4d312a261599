"""CT and label files of other formats than NIfTI, read and written by SimpleITK: MetaImage, NRRD, pairs of two files.

SimpleITK takes some damaged files for whole, and files that state no orientation for axial ones; both are refused here.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ImageError
from nnunet_kits.images.grid import Grid, is_singular
from nnunet_kits.images.nifti import DAMAGED_GZIP, NIFTI, Volume, quiet_nibabel
from nnunet_kits.images.voxels import joined, room

FOREIGN = (".mha", ".mhd", ".nrrd", ".nhdr", ".hdr")
"""Endings of files that are read; ``.img`` stands beside ``.hdr``."""

CT_ENDINGS = (*NIFTI, *FOREIGN)
"""Endings of all files that hold a CT."""

DENSEST = 1100
"""Bytes that a byte of zlib's can stand for, at most."""

KINDS = {"unsigned integer": "u", "signed integer": "i", "float": "f"}
"""SimpleITK's words for a voxel's type, and numpy's."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_foreign_grid(path: Path) -> Grid:
    """Where the voxels of a file lie, from its header alone.

    Raises:
        ImageError: missing or damaged, no volume of one real number a voxel, or an affine that gives voxels no place.
    """
    return _header(path)[1]


def read_foreign(path: Path) -> Volume:
    """Read a CT completely, as int16 where that loses nothing, else as float32.

    Raises:
        ImageError: as :func:`read_foreign_grid`; an incomplete or damaged file; NaN or infinite values.
    """
    grid, planes = read_planes(path)
    return Volume(joined(planes, grid.shape, path), grid)


def read_planes(path: Path) -> tuple[Grid, Iterator[NDArray[Any]]]:
    """The grid of a file, and its planes (rows, columns), as they are stored.

    Raises:
        ImageError: as :func:`read_foreign`.
    """
    import SimpleITK

    reader, grid = _header(path)
    _check_whole(path, grid)
    room(grid.shape, grid.dtype, path)
    try:
        image: Any = reader.Execute()
    except RuntimeError as error:
        raise ImageError(f"{path}: its voxels cannot be read ({_said(error)}). Download or export it again.") from error

    def planes() -> Iterator[NDArray[Any]]:
        yield from SimpleITK.GetArrayViewFromImage(image)  # needs the image to live on

    return grid, planes()


def write_foreign(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a volume, compressed where the format can, whole or not at all.

    Of two files the one with the voxels is put in place first: where there is a header, there are voxels.

    Args:
        path: its ending says the format.
        array: in the axis order that ``affine`` describes.
        affine: (4, 4) voxel index to RAS millimetres, its axes at right angles.

    Raises:
        ImageError: SimpleITK cannot write it.
    """
    import SimpleITK

    lps = LPS_TO_RAS @ affine
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    with atomic_path(path) as temporary:
        folder = temporary.with_name(f"{temporary.name}.d")
        folder.mkdir(exist_ok=True)
        try:
            image: Any = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
            image.SetSpacing(edges.tolist())
            image.SetOrigin(lps[:3, 3].tolist())
            image.SetDirection((lps[:3, :3] / edges).ravel().tolist())
            SimpleITK.WriteImage(image, str(folder / path.name), useCompression=path.suffix != ".hdr")
            for beside in folder.iterdir():
                if beside.name != path.name:
                    beside.replace(path.with_name(beside.name))
            (folder / path.name).replace(temporary)
        except RuntimeError as error:
            raise ImageError(f"{path}: cannot be written ({_said(error)}). Write .nii.gz.") from error
        finally:
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()


def _header(path: Path) -> tuple[Any, Grid]:
    """SimpleITK's reader of a file, and its grid."""
    import SimpleITK

    if not path.is_file():
        raise ImageError(f"{path}: no such file.")
    if not path.stat().st_size:
        raise ImageError(f"{path}: the file is empty. Download or export it again.")
    reader: Any = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(f"{path}: cannot be read ({_said(error)}). Download or export it again.") from error
    size = reader.GetSize()
    if len(size) != 3 or min(size) < 1:
        raise ImageError(
            f"{path}: the image has {len(size)} dimensions {size}, but a CT volume or label map has 3. "
            "Split or squeeze it first."
        )
    kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())  # type: ignore[no-untyped-call]
    bits = re.fullmatch(rf"(\d+)-bit ({'|'.join(KINDS)})", kind)
    if reader.GetNumberOfComponents() != 1 or bits is None:
        raise ImageError(
            f"{path}: its voxels are {reader.GetNumberOfComponents()} numbers each ({kind}), but a CT volume or label "
            "map holds one real number each. Convert it first."
        )
    dtype = np.dtype(f"{KINDS[bits[2]]}{int(bits[1]) // 8}")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    affine = LPS_TO_RAS @ affine
    if is_singular(affine):
        raise ImageError(f"{path}: its affine {affine.tolist()} gives voxels no place. Export the file again.")
    return reader, Grid((int(size[0]), int(size[1]), int(size[2])), affine, dtype, _is_placed(path))


def _is_placed(path: Path) -> bool:
    """Whether a header states which way its axes point."""
    if path.suffix == ".hdr":
        with quiet_nibabel():
            pair: Any = nib.load(path)
        return isinstance(pair, nib.Nifti1Pair) and bool(pair.header["qform_code"] > 0 or pair.header["sform_code"] > 0)
    keys = _lines(path)
    if path.suffix in (".nrrd", ".nhdr"):
        return "space" in keys and "space directions" in keys
    return bool({"TransformMatrix", "Orientation", "Rotation"} & keys.keys())


def _lines(path: Path) -> dict[str, str]:
    """Keys and values of a header that is lines of text: until an empty line, or the one that names the voxels."""
    found: dict[str, str] = {}
    with open(path, "rb") as handle:
        for raw in iter(lambda: handle.readline(1 << 16), b""):
            line = raw.decode("latin-1").strip()
            key, _, value = (part.strip() for part in re.sub(r":=?|=", "\n", line, count=1).partition("\n"))
            if not line:
                break
            found[key] = value
            if key == "ElementDataFile":
                found["voxels"] = str(handle.tell())
                break
    return found


def _check_whole(path: Path, grid: Grid) -> None:
    """Refuse a file with fewer voxels than its header says, and one whose compressed voxels are damaged."""
    keys = {} if path.suffix == ".hdr" else _lines(path)
    named = keys.get("ElementDataFile") or keys.get("data file") or keys.get("datafile") or "LOCAL"
    data = path.with_suffix(".img") if path.suffix == ".hdr" else path if named == "LOCAL" else path.parent / named
    if not data.is_file():  # several, or one that SimpleITK misses too
        return
    needed, there = int(np.prod(grid.shape, dtype=object)) * grid.dtype.itemsize, data.stat().st_size
    if there * (1 if path.suffix == ".hdr" else DENSEST) < needed:
        raise ImageError(
            f"{path}: {there} bytes of voxels, but {grid.shape} of {grid.dtype} need {needed}. The file is incomplete: "
            "download or export it again."
        )
    if keys.get("CompressedData", "").lower() == "true":
        _check_zlib(path, data, int(keys["voxels"]) if named == "LOCAL" else 0)


def _check_zlib(path: Path, data: Path, start: int) -> None:
    """Refuse voxels whose checksum is wrong, which SimpleITK does not look at."""
    stream = isal_zlib.decompressobj(wbits=47)
    try:
        with open(data, "rb") as handle:
            handle.seek(start)
            for piece in iter(lambda: handle.read(1 << 20), b""):
                stream.decompress(piece)
    except DAMAGED_GZIP as error:
        raise ImageError(f"{path}: its compressed voxels are damaged ({error}). Download it again.") from error
    if not stream.eof:
        raise ImageError(f"{path}: its compressed voxels are truncated. Download it again.")


def _said(error: RuntimeError) -> str:
    """What SimpleITK's error says, in one line; the system's reason at its end is often another's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return re.sub(r"^.*?\): ", "", lines[-1])[:200] if lines else type(error).__name__
