"""Scans as a model's reader gives them, read fast, and label maps written where they came from.

nnU-Net's plans name a reader. For NIfTI and its three common readers the same array is made here without nnU-Net's
detour over float64, with the gzip checksum verified; any other reader or file format is left to nnU-Net's own class.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import InferenceError
from nnunet_kits.images import read_ct, write_volume
from nnunet_kits.inference.model import Model

NIFTI = (".nii", ".nii.gz")
FAST_READERS = ("NibabelIO", "NibabelIOWithReorient", "SimpleITKIO")


@dataclass
class Scan:
    """One scan in its reader's axis order.

    Attributes:
        array: (z, y, x); int16 where that is exact, else float32.
        spacing_mm: along the array's axes.
        properties: what nnU-Net's reader tells of the file, for its writer and its ensembling.
        write: writes a label map of the array's shape to a path, on the file's own grid.
    """

    array: NDArray[np.generic]
    spacing_mm: tuple[float, float, float]
    properties: dict[str, Any]
    write: Callable[[NDArray[np.uint8], Path], None]


def read_scan(files: Sequence[Path], model: Model) -> Scan:
    """Read a scan as the model's reader would.

    Args:
        files: one file a channel.
        model: names the reader.

    Raises:
        ImageError: a file is missing or damaged.
        InferenceError: more than one channel.
    """
    reader = str(model.plans.plans["image_reader_writer"])
    if len(files) != 1:
        raise InferenceError(f"{files[0]}: {len(files)} channels, but CT models of this package have one.")
    if reader in FAST_READERS and files[0].name.endswith(NIFTI):
        return _nifti(files[0], reader)
    return _by_nnunet(files[0], model)


def _nifti(file: Path, reader: str) -> Scan:
    """A NIfTI file as one of :data:`FAST_READERS` gives it."""
    volume = read_ct(file)
    affine = volume.affine
    orientation = nib.orientations.io_orientation(affine)
    if reader != "NibabelIOWithReorient":
        orientation = np.array([[0, 1], [1, 1], [2, 1]], dtype=float)
    turned = nib.orientations.apply_orientation(volume.array, orientation).transpose(2, 1, 0)
    axes = np.argsort(orientation[:, 0])[::-1].astype(int)  # the file's axis along z, y and x
    z, y, x = (float(np.float32(volume.spacing_mm[axis])) for axis in axes)

    def write(labels: NDArray[np.uint8], path: Path) -> None:
        back = nib.orientations.apply_orientation(
            labels.transpose(2, 1, 0),
            nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]], dtype=float), orientation),
        )
        write_volume(path, back, affine)

    properties: dict[str, Any] = {"spacing": [z, y, x]}
    if reader == "SimpleITKIO":
        properties["sitk_stuff"] = _sitk_stuff(affine)
    else:
        properties["nibabel_stuff"] = {"original_affine": affine}
    if reader == "NibabelIOWithReorient":
        properties["nibabel_stuff"]["reoriented_affine"] = affine @ nib.orientations.inv_ornt_aff(
            orientation, volume.shape
        )
    return Scan(turned, (z, y, x), properties, write)


def _sitk_stuff(affine: NDArray[np.float64]) -> dict[str, Any]:
    """Spacing, origin and direction as SimpleITK states them (LPS)."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    edges = np.linalg.norm(lps[:, :3], axis=0)
    return {
        "spacing": tuple(float(edge) for edge in edges),
        "origin": tuple(float(value) for value in lps[:, 3]),
        "direction": tuple(float(value) for value in (lps[:, :3] / edges).ravel()),
    }


def _by_nnunet(file: Path, model: Model) -> Scan:
    """Any file, by the reader that the plans name."""
    reader = model.plans.image_reader_writer_class()
    try:
        data, properties = reader.read_images([str(file)])
    except Exception as error:  # readers raise whatever their libraries raise
        raise InferenceError(f"{file}: {type(reader).__name__} cannot read it ({error}).") from error

    def write(labels: NDArray[np.uint8], path: Path) -> None:
        ending = model.dataset_json["file_ending"]
        with atomic_path(path) as temporary:
            named = temporary.with_name(temporary.name + ending)
            reader.write_seg(labels, str(named), properties)
            named.replace(temporary)

    z, y, x = (float(edge) for edge in properties["spacing"])
    return Scan(data[0], (z, y, x), properties, write)
