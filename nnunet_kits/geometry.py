"""Volumes in one orientation, and boxes in volumes.

Canonical here means the orientation of the KiTS files: z runs from head to feet, y from front to back, x from the
patient's right to the left (nibabel's code IPL). A plane taken from such an array, rows down and columns to the right,
is what a radiologist expects to see: the patient's right on the image's left, the front or the head at the top.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open voxel intervals ``(start, stop)`` along the three axes of an array."""

NOWHERE: Box = ((0, 0), (0, 0), (0, 0))
"""A box without a voxel."""

PLANES = ("axial", "coronal", "sagittal")
"""The plane across each axis: axial across z, coronal across y, sagittal across x."""


def to_canonical(array: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[Any]:
    """Turn and flip a volume to (z, y, x) = (head to feet, front to back, right to left).

    Only axes are exchanged and flipped, nothing is resampled: an oblique volume gets the closest such orientation.

    Args:
        array: three-dimensional, in the axis order that ``affine`` describes.
        affine: (4, 4) voxel index to RAS millimetres.

    Returns:
        A view, shape (z, y, x).
    """
    turned: NDArray[Any] = nib.orientations.apply_orientation(array, _transform(affine))
    return turned


def canonical_affine(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine of the :func:`to_canonical` volume.

    Args:
        shape: of the volume as it is.
        affine: (4, 4) its voxel index to RAS millimetres.

    Returns:
        (4, 4) (z, y, x) index of the turned volume to RAS millimetres.
    """
    turned: NDArray[np.float64] = affine @ nib.orientations.inv_ornt_aff(_transform(affine), shape)
    return turned


def canonical_spacing(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Voxel edges of the :func:`to_canonical` volume: (z, y, x) in mm."""
    edges = np.linalg.norm(affine[:3, :3], axis=0)
    z, y, x = edges[np.argsort(_transform(affine)[:, 0])]
    return float(z), float(y), float(x)


def slice_axis(affine: NDArray[np.float64]) -> int:
    """Which axis of a volume runs along the body, so that axial slices lie across it.

    Args:
        affine: (4, 4) voxel index to RAS millimetres.
    """
    return int(np.argmin(_transform(affine)[:, 0]))


def bounding_box(array: NDArray[Any]) -> Box | None:
    """The smallest box that holds every value that is not 0.

    Quick for what is full to its sides and for what is mostly 0, in any memory layout.

    Args:
        array: three-dimensional, of real numbers or bool.

    Returns:
        None where all values are 0.
    """
    order = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))  # as the axes lie in memory
    turned = array.transpose(order)
    first = next((index for index in range(len(turned)) if turned[index].any()), None)
    if first is None:
        return None
    last = next(index for index in reversed(range(len(turned))) if turned[index].any())
    part = turned[first : last + 1]
    found = {order[0]: (first, last + 1), order[1]: (0, part.shape[1]), order[2]: (0, part.shape[2])}
    if not all(side.any() for side in (part[:, 0], part[:, -1], part[:, :, 0], part[:, :, -1])):
        footprint = (np.logical_or if part.dtype.kind == "f" else np.bitwise_or).reduce(part, axis=0)
        for axis, across in ((order[1], 1), (order[2], 0)):
            hit = np.flatnonzero(footprint.any(axis=across))
            found[axis] = (int(hit[0]), int(hit[-1]) + 1)
    return found[0], found[1], found[2]


def nonzero_box(image: NDArray[Any]) -> Box:
    """The smallest box that holds every voxel that is not 0 in some channel; everything where there is none.

    Args:
        image: (z, y, x), or (c, z, y, x).
    """
    boxes = [bounding_box(channel) for channel in (image if image.ndim == 4 else image[None])]
    return union_box(*boxes) if any(boxes) else whole_box(image.shape[-3:])


def whole_box(shape: Sequence[int]) -> Box:
    """All of a volume."""
    z, y, x = shape
    return (0, z), (0, y), (0, x)


def union_box(*boxes: Box | None) -> Box:
    """The smallest box that holds all of some boxes; :data:`NOWHERE` where there is none."""
    found = [box for box in boxes if box is not None]
    if not found:
        return NOWHERE
    z, y, x = ((min(box[axis][0] for box in found), max(box[axis][1] for box in found)) for axis in range(3))
    return z, y, x


def grow_box(box: Box, margin_mm: float, spacing_zyx_mm: tuple[float, float, float], volume: Box) -> Box:
    """A box with a margin on all sides, cut at the volume's borders."""
    grown = []
    for (start, stop), spacing, (first, last) in zip(box, spacing_zyx_mm, volume, strict=True):
        margin = round(margin_mm / spacing)
        grown.append((max(first, start - margin), min(last, stop + margin)))
    return grown[0], grown[1], grown[2]


def crop(array: NDArray[Any], box: Box) -> NDArray[Any]:
    """The part of a volume inside a box, as a view."""
    return array[tuple(slice(start, stop) for start, stop in box)]


def pasted(part: NDArray[Any], box: Box, within: Box, order: Literal["C", "F"] = "C") -> NDArray[Any]:
    """A new array with a part in its place and 0 elsewhere.

    Args:
        part: what is inside ``box``.
        box: where it belongs.
        within: a box around that one: what the new array covers.
        order: how the new array lies in memory.
    """
    array = np.zeros([stop - start for start, stop in within], part.dtype, order)  # unlike zeros_like, untouched memory
    array[tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(box, within, strict=True))] = part
    return array


def pasted_like(whole: NDArray[Any], box: Box, part: NDArray[Any]) -> NDArray[Any]:
    """A new array of another's shape and memory layout, with a part in its place and 0 elsewhere."""
    return pasted(part, box, whole_box(whole.shape), "F" if whole.flags.f_contiguous else "C")


def copy_planes(
    source: NDArray[Any], target: NDArray[Any], change: Callable[[NDArray[Any]], NDArray[Any]] | None = None
) -> None:
    """Copy a volume into a C-ordered one plane by plane, so that both stay in the processor's cache.

    Args:
        source: (z, y, x) with any strides.
        target: (z, y, x), C-ordered; its dtype is converted to.
        change: applied to each plane in the target's dtype.
    """
    across = 1 if np.argmin(np.abs(source.strides)) == 0 else 0
    for plane, into in zip(np.moveaxis(source, across, 0), np.moveaxis(target, across, 0), strict=True):
        values = np.ascontiguousarray(plane).astype(target.dtype, copy=False)
        into[...] = (
            values if change is None else change(values.copy() if np.may_share_memory(values, source) else values)
        )


def fullest_point(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Where to cut a structure so that each plane shows most of it: per axis, the plane with the most true voxels."""
    z, y, x = (int(mask.sum(axis=tuple(a for a in range(3) if a != axis)).argmax()) for axis in range(3))
    return z, y, x


def plane_through(array: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """One plane of a canonical volume: axial is (y, x), coronal (z, x), sagittal (z, y)."""
    flat: NDArray[Any] = np.take(array, index, axis=PLANES.index(plane))
    return flat


def _transform(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orientation transform from the file's axes to canonical (z, y, x)."""
    ours = nib.orientations.axcodes2ornt("IPL")
    transform: NDArray[np.float64] = nib.orientations.ornt_transform(nib.orientations.io_orientation(affine), ours)
    return transform
