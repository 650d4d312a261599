"""A CT in whatever it comes: NIfTI, another format that SimpleITK reads, or a DICOM series."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError
from nnunet_kits.images.dicom import read_series, stored_grid
from nnunet_kits.images.foreign import FOREIGN, read_foreign, read_foreign_grid, write_foreign
from nnunet_kits.images.grid import Grid, check_placed
from nnunet_kits.images.nifti import NIFTI, Volume, read_ct, read_grid, write_volume
from nnunet_kits.images.series import Series

CtSource = Path | Series
"""A file, or a series that was chosen."""


def read_any_ct(source: CtSource) -> Volume:
    """Read a CT completely, as int16 where that loses nothing, else as float32.

    Args:
        source: a file, or a series as :func:`~nnunet_kits.images.series.choose_series` gives it: one that has to be
            resampled is.

    Raises:
        ImageError: missing, incomplete or damaged; no volume of one real number a voxel; one that does not state its
            orientation, or is in no format that is read.
    """
    if isinstance(source, Series):
        return read_series(source, resample=source.uneven)
    volume = (read_foreign if _is_foreign(source) else read_ct)(source)
    check_placed(source, volume.grid)
    return volume


def read_any_grid(source: CtSource) -> Grid:
    """Where the voxels lie, from headers alone; of a series that will be resampled about so.

    Raises:
        ImageError: as :func:`read_any_ct`, where headers tell.
    """
    if isinstance(source, Series):
        return stored_grid(source)
    return (read_foreign_grid if _is_foreign(source) else read_grid)(source)


def write_like(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Write a volume in the format that the file's ending says, whole or not at all.

    Raises:
        ImageError: an affine that gives voxels no place, or one that the format cannot hold.
    """
    (write_foreign if _is_foreign(path) else write_volume)(path, array, affine)


def files_of(source: CtSource) -> tuple[Path, ...]:
    """All files that a CT is read from."""
    return source.files if isinstance(source, Series) else (source,)


def name_of(source: CtSource) -> str:
    """What a user calls a CT: the file's name, or the series'."""
    return f"series {source.title}" if isinstance(source, Series) else source.name


def output_ending(source: CtSource) -> str:
    """Ending of a file with the label map of a CT: its own; of a series NIfTI's."""
    if isinstance(source, Series):
        return NIFTI[0]
    return next((ending for ending in (*NIFTI, *FOREIGN) if source.name.endswith(ending)), source.suffix)


def _is_foreign(path: Path) -> bool:
    """Whether a file is read by SimpleITK.

    Raises:
        ImageError: a format that is not read.
    """
    if path.name.endswith(NIFTI):
        return False
    if path.suffix not in FOREIGN:
        known = ", ".join((*NIFTI, *FOREIGN))
        raise ImageError(f"{path}: is in no format that is read, which are {known}, and DICOM. Convert it first.")
    return True
