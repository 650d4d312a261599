"""Connected components of label maps: cropped to the foreground, labelled once, counted by look-up.

A label map is mostly background, and the voxels of a structure are few even inside its box. So everything here works
in the box around the foreground, and counts and rewrites only the voxels of the structure, whatever the order of axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Slices = tuple[slice, slice, slice]
"""A box in an array, one slice an axis."""

CONNECTIVITY = 26
"""Voxels that share a face, an edge or a corner belong together."""

THIN = 4
"""cc3d 4.1.1 stops with "cannot be mapped to union-find array" on some arrays that are thinner than this."""


@dataclass(frozen=True)
class Components:
    """The connected components of a structure inside a box.

    Attributes:
        inside: the box in the whole label map.
        labels: shape of the box, uint8, contiguous: the label map there; a copy.
        ids: shape of the box: 1, 2, ... in the components, 0 elsewhere.
        places: (n,) flat indices into ``labels`` of the structure's voxels.
        ids_at_places: (n,) the id of each of them.
        voxels: (count + 1,) size of each component by its id; 0 for id 0.
    """

    inside: Slices
    labels: NDArray[np.uint8]
    ids: NDArray[np.integer[Any]]
    places: NDArray[np.intp]
    ids_at_places: NDArray[np.integer[Any]]
    voxels: NDArray[np.intp]

    @property
    def count(self) -> int:
        """How many components there are."""
        return len(self.voxels) - 1


def foreground_slices(labels: NDArray[np.generic]) -> Slices | None:
    """The smallest box that holds every voxel above 0.

    Args:
        labels: three-dimensional, integer or bool, with any strides.

    Returns:
        None where there is no such voxel.
    """
    order = _slowest_first(labels)
    turned = labels.transpose(order)
    footprint = np.bitwise_or.reduce(turned, axis=0)
    rows = np.flatnonzero(footprint.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(footprint.any(axis=0))
    row, column = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    part = turned[:, row, column]
    first = next(index for index in range(len(part)) if part[index].any())
    last = next(index for index in reversed(range(len(part))) if part[index].any())
    found = {order[0]: slice(first, last + 1), order[1]: row, order[2]: column}
    return found[0], found[1], found[2]


def pasted(labels: NDArray[Any], inside: Slices, crop: NDArray[Any]) -> NDArray[Any]:
    """A new array as large as a label map, with a part put into a box and 0 elsewhere."""
    order: Literal["C", "F"] = "F" if labels.flags.f_contiguous else "C"
    result: NDArray[Any] = np.zeros(labels.shape, labels.dtype, order)  # unlike zeros_like, touches no memory yet
    result[inside] = crop
    return result


def mask_of(labels: NDArray[np.generic], members: Sequence[int]) -> NDArray[np.bool_]:
    """Where a label map has one of some labels."""
    lowest, highest = min(members), max(members)
    mask: NDArray[np.bool_]
    if labels.dtype == np.uint8 and 1 < highest - lowest + 1 == len(set(members)):
        shifted: NDArray[np.uint8] = labels.astype(np.uint8, copy=False) - np.uint8(lowest)  # below the lowest wraps
        mask = shifted <= np.uint8(highest - lowest)
    else:
        mask = reduce(np.logical_or, (labels == member for member in members))
    return mask


def label_components(mask: NDArray[np.bool_], connectivity: int = CONNECTIVITY) -> NDArray[np.integer[Any]]:
    """Number the connected components of a mask: 1, 2, ..., and 0 outside.

    Args:
        mask: three-dimensional, contiguous.
        connectivity: 26, or 6 for voxels that share a face.
    """
    if min(mask.shape) >= THIN:
        try:
            ids: NDArray[np.integer[Any]] = cc3d.connected_components(mask, connectivity=connectivity)  # type: ignore[call-overload]
            return ids
        except RuntimeError:
            pass
    numbered: NDArray[np.integer[Any]] = ndimage.label(mask, np.ones((3, 3, 3), bool) if connectivity == 26 else None)[
        0
    ]
    return numbered


def find_components(labels: NDArray[np.uint8], members: Sequence[int]) -> Components | None:
    """The 26-connected components of the union of some labels.

    Args:
        labels: three-dimensional label map, with any strides.
        members: the labels whose union is looked at.

    Returns:
        None where there is no foreground at all.
    """
    inside = foreground_slices(labels)
    if inside is None:
        return None
    crop = np.array(labels[inside], order="C")
    mask = mask_of(crop, members)
    ids = label_components(mask)
    places = np.flatnonzero(mask.ravel())
    ids_at_places = ids.ravel()[places]
    voxels = np.bincount(ids_at_places, minlength=1)
    return Components(inside, crop, ids, places, ids_at_places, voxels)


def touched_labels(found: Components, chosen: NDArray[np.bool_], members: Sequence[int]) -> NDArray[np.uint8]:
    """For each chosen component, the foreground label that most of its neighbouring voxels outside have.

    Args:
        found: components of the union of ``members``.
        chosen: (count + 1,) which of them.
        members: the labels of the structure; a component's own neighbours are never another of the structure.

    Returns:
        (count + 1,) the label; 0 where a component touches background alone, and for those not chosen. Of two labels
        that are touched as often, the lower.
    """
    table = np.zeros(found.count + 1, np.uint8)
    inner = np.array(found.labels.shape)
    selected = chosen[found.ids_at_places]
    at = np.array(np.unravel_index(found.places[selected], found.labels.shape)) + 1
    ids = found.ids_at_places[selected].astype(np.intp)
    padded = np.pad(found.labels, 1)
    padded[mask_of(padded, members)] = 0
    if not padded.any():
        return table
    flat, (_, rows, columns) = padded.ravel(), inner + 2
    places = np.ravel_multi_index(tuple(at), padded.shape)
    highest = int(flat.max()) + 1
    counts = np.zeros(len(table) * highest, np.intp)
    for step in np.ndindex(3, 3, 3):
        offset = ((step[0] - 1) * rows + step[1] - 1) * columns + step[2] - 1
        counts += np.bincount(ids * highest + flat[places + offset], minlength=len(counts))
    by_label = counts.reshape(-1, highest)
    by_label[:, 0] = 0
    table[:] = by_label.argmax(axis=1)
    return table


def _slowest_first(array: NDArray[np.generic]) -> tuple[int, int, int]:
    """The axes in the order in which they lie in memory."""
    first, second, third = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    return first, second, third
