"""Reading a case as the plans' reader does, without its detours: one decompression, no float64, no second copy."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import PreprocessingError
from nnunet_kits.images import read_volume

NIFTI = (".nii", ".nii.gz")

Properties = dict[str, Any]


def read_files(files: Sequence[str], reader: Any) -> tuple[NDArray[Any], Properties]:
    """Read the channels of a case, or its label map, and what the reader tells of them.

    Args:
        files: one file a channel.
        reader: an instance of nnU-Net's reader class that the plans name. One NIfTI file for its ``NibabelIO``,
            ``NibabelIOWithReorient`` or ``SimpleITKIO`` is read here; anything else it reads itself.

    Returns:
        (c, z, y, x) with the reader's values, in the file's dtype instead of float32, maybe as a strided view; and the
        reader's properties.

    Raises:
        ImageError: a missing, truncated or damaged NIfTI file.
        PreprocessingError: the reader itself failed.
    """
    name = type(reader).__name__
    if len(files) == 1 and name in READERS and files[0].endswith(NIFTI):
        volume = read_volume(Path(files[0]))
        header: Any = nib.load(files[0])
        slope, intercept = header.dataobj.slope, header.dataobj.inter
        if (slope, intercept) == (1.0, 0.0) and volume.array.dtype in EXACT:
            view, properties = READERS[name](volume.array, header)
            return view[None], properties
    try:
        data, properties = reader.read_images(files)
    except Exception as error:  # each reader raises its library's own types
        raise PreprocessingError(f"{files[0]}: {name} cannot read it ({error}). Convert or export it again.") from error
    return data, properties


EXACT = [np.dtype(kind) for kind in ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8")]
"""Stored types that become float32 directly as they do by way of float64."""


def _as_stored(array: NDArray[Any], header: Any) -> tuple[NDArray[Any], Properties]:
    """As NibabelIO: the file's axes, reversed."""
    zooms = [float(edge) for edge in header.header.get_zooms()[::-1]]
    return array.transpose(2, 1, 0), {"nibabel_stuff": {"original_affine": header.affine}, "spacing": zooms}


def _reoriented(array: NDArray[Any], header: Any) -> tuple[NDArray[Any], Properties]:
    """As NibabelIOWithReorient: turned to right, anterior, superior, then reversed."""
    orientation = nib.orientations.io_orientation(header.affine)
    hollow = np.broadcast_to(np.int8(0), array.shape)  # has the shape, but no memory
    turned = type(header)(hollow, header.affine, header.header).as_reoriented(orientation)
    stuff = {"original_affine": header.affine, "reoriented_affine": turned.affine}
    zooms = [float(edge) for edge in turned.header.get_zooms()[::-1]]
    view = nib.orientations.apply_orientation(array, orientation).transpose(2, 1, 0)
    return view, {"nibabel_stuff": stuff, "spacing": zooms}


def _by_simpleitk(array: NDArray[Any], header: Any) -> tuple[NDArray[Any], Properties]:
    """As SimpleITKIO: the file's axes, reversed, with the geometry as SimpleITK states it."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(header.get_filename())
    reader.ReadImageInformation()
    stuff = {"spacing": reader.GetSpacing(), "origin": reader.GetOrigin(), "direction": reader.GetDirection()}
    spacing = list(np.abs(list(reader.GetSpacing())[::-1]))
    return array.transpose(2, 1, 0), {"sitk_stuff": stuff, "spacing": spacing}


READERS = {"NibabelIO": _as_stored, "NibabelIOWithReorient": _reoriented, "SimpleITKIO": _by_simpleitk}
"""nnU-Net's readers that have an equal here."""
