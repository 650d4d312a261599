"""A scan prepared for a network: the one function that derived datasets and predictions share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import EmptyMaskError, PreparationError
from nnunet_kits.geometry import Box, bounding_box, crop, whole_box
from nnunet_kits.preparation.placement import LINEAR, Placement
from nnunet_kits.preparation.preparation import Preparation
from nnunet_kits.resampling.volumes import resample_volume


@dataclass(frozen=True)
class Prepared:
    """A prepared scan.

    Attributes:
        array: (z, y, x) HU, int16 but where nothing was done: what a derived dataset's file holds and a network is
            given.
        spacing_zyx_mm: true edges of its voxels.
        placement: where it lies in the source, for :func:`~nnunet_kits.preparation.placement.restore`.
    """

    array: NDArray[Any]
    spacing_zyx_mm: tuple[float, float, float]
    placement: Placement


def prepare(
    image: NDArray[Any],
    spacing_zyx_mm: Sequence[float],
    preparation: Preparation,
    mask: NDArray[Any] | None = None,
) -> Prepared:
    """Crop a scan to a mask's box, multiply it by the mask, resize it trilinearly, and round to whole HU.

    A preparation that does nothing gives the scan itself, broken HU too.

    Args:
        image: (z, y, x), HU, as nnU-Net's reader gives it. It is not changed.
        spacing_zyx_mm: along the image's axes.
        preparation: what to do.
        mask: (z, y, x) on the image's grid, inside where it is not 0; needed where the preparation names a region or
            masks.

    Raises:
        EmptyMaskError: the mask is empty.
        PreparationError: no mask where one is needed, or one of another shape.
    """
    z, y, x = image.shape
    box = whole_box(image.shape)
    if preparation.needs_mask:
        found = _box_of(mask, (z, y, x))
        if preparation.margin_voxels is not None:
            box = _grown(found, preparation.margin_voxels, box)
    extent = (box[0][1] - box[0][0], box[1][1] - box[1][0], box[2][1] - box[2][0])
    placement = Placement((z, y, x), box, preparation.size_of(extent))
    part = crop(image, box)
    if preparation.mask and mask is not None:
        part = np.where(crop(mask, box) != 0, part, np.zeros((), part.dtype))
    if placement.shape != placement.extent:
        part = resample_volume(part, placement.shape, LINEAR)
    array = part if preparation == Preparation() else as_hu(part)
    return Prepared(array, placement.spacing_mm(spacing_zyx_mm), placement)


def as_hu(values: NDArray[Any]) -> NDArray[np.int16]:
    """HU as int16: rounded to the nearest whole number (halves to the even one), cut to int16's range.

    Args:
        values: of any shape and real dtype, finite.
    """
    if values.dtype == np.int16:
        return values
    rounded = np.rint(values)
    np.clip(rounded, -32768, 32767, out=rounded)
    found: NDArray[np.int16] = rounded.astype(np.int16)
    return found


def _box_of(mask: NDArray[Any] | None, shape: tuple[int, int, int]) -> Box:
    """The box of a mask that must be there, of the scan's shape, and not empty."""
    if mask is None:
        raise PreparationError("the preparation crops to a mask or multiplies by one, but no mask is given.")
    if mask.shape != shape:
        raise PreparationError(
            f"the mask has {mask.shape} voxels (z, y, x), but the scan {shape}. Both must lie on one grid."
        )
    found = bounding_box(mask)
    if found is None:
        raise EmptyMaskError("the mask is empty: nothing was found to crop to or to keep.")
    return found


def _grown(box: Box, margin_voxels: tuple[int, int, int], volume: Box) -> Box:
    """A box with so many voxels more on both sides of each axis, cut at the volume's borders."""
    z, y, x = (
        (max(first, start - margin), min(last, stop + margin))
        for (start, stop), margin, (first, last) in zip(box, margin_voxels, volume, strict=True)
    )
    return z, y, x
