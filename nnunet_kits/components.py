"""Connected components of label maps: cropped to the foreground, labelled once, counted by look-up.

A label map is mostly background, and the voxels of a structure are few even inside its box. So everything here works
in the box around the foreground, and counts and rewrites only the voxels of the structure, whatever the order of axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.geometry import Box, bounding_box, crop

CONNECTIVITY = 26
"""Voxels that share a face, an edge or a corner belong together."""


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

    inside: Box
    labels: NDArray[np.uint8]
    ids: NDArray[np.integer[Any]]
    places: NDArray[np.intp]
    ids_at_places: NDArray[np.integer[Any]]
    voxels: NDArray[np.intp]

    @property
    def count(self) -> int:
        """How many components there are."""
        return len(self.voxels) - 1


def mask_of(labels: NDArray[np.uint8], members: Sequence[int]) -> NDArray[np.bool_]:
    """Where a label map has one of some labels."""
    mask: NDArray[np.bool_]
    if len(members) > 1 and max(members) - min(members) + 1 == len(set(members)):
        mask = labels - np.uint8(min(members)) <= np.uint8(max(members) - min(members))  # what is less wraps around
        return mask
    mask = np.zeros(labels.shape, np.bool_)
    for member in members:
        mask |= labels == np.uint8(member)  # as Python's int it would be compared as 64 bits
    return mask


def label_components(mask: NDArray[np.bool_], connectivity: int = CONNECTIVITY) -> NDArray[np.integer[Any]]:
    """Number the connected components of a mask: 1, 2, ..., and 0 outside.

    Args:
        mask: three-dimensional; contiguous, since cc3d misreads some views.
        connectivity: 26, or 6 for voxels that share a face.
    """
    import cc3d

    ids: NDArray[np.integer[Any]]
    try:
        ids = cc3d.connected_components(mask, connectivity=connectivity)  # type: ignore[call-overload]
    except RuntimeError:  # as cc3d 4.1.1 stops on some thin arrays
        from scipy import ndimage

        ids = ndimage.label(mask, np.ones((3, 3, 3), bool) if connectivity == 26 else None)[0]
    return ids


def component_boxes(ids: NDArray[np.integer[Any]]) -> list[Box]:
    """The smallest box around each of the components 1, 2, ..."""
    from scipy import ndimage

    found = ndimage.find_objects(ids.astype(np.int32, copy=False))
    return [((z.start, z.stop), (y.start, y.stop), (x.start, x.stop)) for z, y, x in found]


def find_components(labels: NDArray[np.uint8], members: Sequence[int]) -> Components | None:
    """The 26-connected components of the union of some labels.

    Args:
        labels: three-dimensional label map, with any strides.
        members: the labels whose union is looked at.

    Returns:
        None where there is no foreground at all.
    """
    inside = bounding_box(labels)
    if inside is None:
        return None
    part = np.array(crop(labels, inside), order="C")
    mask = mask_of(part, members)
    ids = label_components(mask)
    places = np.flatnonzero(mask.ravel())
    ids_at_places = ids.ravel()[places]
    voxels = np.bincount(ids_at_places, minlength=1)
    return Components(inside, part, ids, places, ids_at_places, voxels)


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
