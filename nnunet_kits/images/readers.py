"""What nnU-Net's readers give of a scan, by the reader's name and without their detours.

nnU-Net's plans name a reader. For a NIfTI file and its three common readers the same arrays and properties are made
here with one decompression, its checksum verified, and without float64. Any other reader, file or number of channels is
left to nnU-Net's own class, which the caller hands over.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ImageError
from nnunet_kits.images.any_ct import CtSource, read_any_ct, write_like
from nnunet_kits.images.dicom import SeriesVolume
from nnunet_kits.images.foreign import CT_ENDINGS
from nnunet_kits.images.nifti import NIFTI, Volume, quiet_nibabel, read_ct, read_volume, write_volume
from nnunet_kits.images.series import Series

Geometry = Callable[[], dict[str, Any]]
"""Tells spacing, origin and direction in SimpleITK's terms."""

STORED = np.array([[0, 1], [1, 1], [2, 1]])
"""nibabel's orientation of axes that stay as they are."""


@dataclass(frozen=True)
class AxisOrder:
    """How a reader turns the axes of a file.

    Attributes:
        orientation: nibabel's, to which the file's axes are turned before they are reversed.
    """

    orientation: NDArray[Any]

    def as_read(self, stored: NDArray[Any]) -> NDArray[Any]:
        """A file's array as the reader gives it: (z, y, x), a view."""
        turned: NDArray[Any] = nib.orientations.apply_orientation(stored, self.orientation).transpose(2, 1, 0)
        return turned

    def as_stored(self, read: NDArray[Any]) -> NDArray[Any]:
        """An array (z, y, x) of the reader's in the file's axis order, a view."""
        back = nib.orientations.ornt_transform(STORED, self.orientation)
        turned: NDArray[Any] = nib.orientations.apply_orientation(read.transpose(2, 1, 0), back)
        return turned

    def to_stored(self, read_shape: Sequence[int]) -> NDArray[np.float64]:
        """(4, 4) index (z, y, x, 1) in the reader's array to index in the file's.

        Args:
            read_shape: (z, y, x) of the reader's array.
        """
        hollow = self.as_stored(np.broadcast_to(np.int8(0), tuple(read_shape)))  # has the shape, but no memory
        matrix = nib.orientations.inv_ornt_aff(self.orientation, hollow.shape)
        found: NDArray[np.float64] = matrix[:, [2, 1, 0, 3]]
        return found


def axis_order(reader: str, affine: NDArray[np.float64]) -> AxisOrder | None:
    """How a reader of nnU-Net turns the axes of a NIfTI file.

    Args:
        reader: name of the reader's class.
        affine: (4, 4) of the file.

    Returns:
        None for a reader that is not known here.
    """
    if reader not in READERS:
        return None
    return AxisOrder(nib.orientations.io_orientation(affine) if READERS[reader] is _reoriented else STORED)


@dataclass(frozen=True)
class Scan:
    """A scan as a reader of nnU-Net gives it.

    Attributes:
        array: (c, z, y, x) in the reader's axis order; its values, if not in its dtype; maybe a strided view.
        properties: what the reader tells of the file, for its writer and nnU-Net's ensembling.
        write: writes a label map (z, y, x) of the array's shape to a path, on the file's own grid.
        note: what a user should know of how it was read; empty where it is as in its file.
    """

    array: NDArray[Any]
    properties: dict[str, Any]
    write: Callable[[NDArray[np.uint8], Path], None]
    note: str = ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel edge along z, y and x."""
        z, y, x = (float(edge) for edge in self.properties["spacing"])
        return z, y, x


def read_scan(
    files: Sequence[Path], reader: str, stock: Callable[[], Any], read: Callable[[Path], Volume] = read_ct
) -> Scan:
    """Read the channels of a case, or its label map, as a reader of nnU-Net would.

    Args:
        files: one file a channel.
        reader: name of the reader's class.
        stock: makes an instance of that class; asked only where there is no equal here.
        read: reads a NIfTI file; decides the array's dtype.

    Raises:
        ImageError: a missing, truncated or damaged file, or one that the reader cannot read.
    """
    if len(files) == 1 and reader in READERS and files[0].name.endswith(NIFTI):
        volume = read(files[0])
        return READERS[reader](volume, _header_of(files[0]), _geometry(volume, files[0]))
    return _by_nnunet(files, reader, stock())


def read_ct_scan(source: CtSource, reader: str, stock: Callable[[], Any]) -> Scan:
    """Read a CT of any format, or a DICOM series, as a reader of nnU-Net would give it in the reader's own format.

    Its label maps are written in the format that their path says.

    Args:
        source: a file, or a series.
        reader: name of the reader's class.
        stock: makes an instance of that class; asked only where there is no equal here.

    Raises:
        ImageError: as :func:`~nnunet_kits.images.any_ct.read_any_ct`.
    """
    known = isinstance(source, Series) or source.name.endswith(CT_ENDINGS)
    if not known and isinstance(source, Path):  # a format of the reader's own
        return _by_nnunet([source], reader, stock())
    volume = read_any_ct(source)
    note = volume.note if isinstance(volume, SeriesVolume) else volume.grid.note
    if reader not in READERS:
        return replace(_through_nifti(volume, reader, stock()), note=note)
    file = source if isinstance(source, Path) else None
    if file is not None and file.name.endswith(NIFTI):
        return replace(READERS[reader](volume, _header_of(file), _geometry(volume, file)), note=note)
    hollow = np.broadcast_to(np.int8(0), volume.array.shape)  # has the shape, but no memory
    scan = READERS[reader](volume, nib.Nifti1Image(hollow, volume.affine), _geometry(volume, file))
    return replace(scan, note=note)


def _header_of(file: Path) -> Any:
    """A NIfTI file that was read already, by nibabel, without what nibabel says of its header."""
    with quiet_nibabel():
        return nib.load(file)


def _as_stored(volume: Volume, image: Any, geometry: Geometry) -> Scan:
    """As NibabelIO: the file's axes, reversed."""
    zooms = [float(edge) for edge in image.header.get_zooms()[::-1]]
    properties = {"nibabel_stuff": {"original_affine": image.affine}, "spacing": zooms}
    return _turned(volume, STORED, properties)


def _reoriented(volume: Volume, image: Any, geometry: Geometry) -> Scan:
    """As NibabelIOWithReorient: turned to right, anterior, superior, then reversed."""
    orientation = nib.orientations.io_orientation(image.affine)
    hollow = np.broadcast_to(np.int8(0), volume.array.shape)  # has the shape, but no memory
    turned = type(image)(hollow, image.affine, image.header).as_reoriented(orientation)
    stuff = {"original_affine": image.affine, "reoriented_affine": turned.affine}
    zooms = [float(edge) for edge in turned.header.get_zooms()[::-1]]
    return _turned(volume, orientation, {"nibabel_stuff": stuff, "spacing": zooms})


def _by_simpleitk(volume: Volume, image: Any, geometry: Geometry) -> Scan:
    """As SimpleITKIO: the file's axes, reversed, with the geometry as SimpleITK states it."""
    stuff = geometry()
    spacing = list(np.abs(list(stuff["spacing"])[::-1]))
    return _turned(volume, STORED, {"sitk_stuff": stuff, "spacing": spacing})


READERS = {"NibabelIO": _as_stored, "NibabelIOWithReorient": _reoriented, "SimpleITKIO": _by_simpleitk}
"""nnU-Net's readers that have an equal here."""


def _turned(volume: Volume, orientation: NDArray[Any], properties: dict[str, Any]) -> Scan:
    """A volume with its axes turned by nibabel's orientation and then reversed, and the way back for label maps."""
    order, affine = AxisOrder(orientation), volume.affine

    def write(labels: NDArray[np.uint8], path: Path) -> None:
        write_like(path, order.as_stored(labels), affine)

    return Scan(order.as_read(volume.array)[None], properties, write)


def _geometry(volume: Volume, file: Path | None) -> Geometry:
    """Spacing, origin and direction as SimpleITK states them of a file; of a series as of the NIfTI file of it."""

    def stated() -> dict[str, Any]:
        if file is None:
            stuff = _in_lps(volume.affine)
            return {**stuff, "spacing": tuple(float(np.float32(edge)) for edge in stuff["spacing"])}
        import SimpleITK

        reader: Any = SimpleITK.ImageFileReader()  # type: ignore[no-untyped-call]
        reader.SetFileName(str(file))
        try:
            reader.ReadImageInformation()
        except RuntimeError:  # axes that are not at right angles
            return _in_lps(volume.affine)
        return {"spacing": reader.GetSpacing(), "origin": reader.GetOrigin(), "direction": reader.GetDirection()}

    return stated


def _in_lps(affine: NDArray[np.float64]) -> dict[str, tuple[float, ...]]:
    """Spacing, origin and direction of an affine in SimpleITK's terms."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    edges = np.linalg.norm(lps[:, :3], axis=0)
    return {
        "spacing": tuple(edges.tolist()),
        "origin": tuple(lps[:, 3].tolist()),
        "direction": tuple((lps[:, :3] / edges).ravel().tolist()),
    }


def _through_nifti(volume: Volume, name: str, reader: Any) -> Scan:
    """A volume by nnU-Net's own reader, which reads files: one is written for it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.nii.gz"
        write_volume(file, volume.array, volume.affine)
        scan = _by_nnunet([file], name, reader)

    def write(labels: NDArray[np.uint8], path: Path) -> None:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "labels.nii.gz"
            scan.write(labels, made)
            write_like(path, read_volume(made).array.astype(np.uint8), volume.affine)

    return replace(scan, write=write)


def _by_nnunet(files: Sequence[Path], name: str, reader: Any) -> Scan:
    """Any files, by nnU-Net's own reader."""
    try:
        data, properties = reader.read_images([str(file) for file in files])
    except Exception as error:  # each reader raises its library's own types
        raise ImageError(f"{files[0]}: {name} cannot read it ({error}). Convert or export it again.") from error

    def write(labels: NDArray[np.uint8], path: Path) -> None:
        ending = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
        with atomic_path(path) as temporary:
            named = temporary.with_name(temporary.name + ending)
            reader.write_seg(labels, str(named), properties)
            named.replace(temporary)

    return Scan(data, properties, write)
