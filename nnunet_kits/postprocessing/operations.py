"""What can be done to a predicted label map; each operation is one function, named by a verb.

All take a label map (three-dimensional, any order of axes), a voxel (its volume, or where lengths matter its edges) and
their own parameters by name, and return a new label map. Components are 26-connected. A structure is a label (kidney,
tumor, cyst) or one of the challenge's regions (kidney_and_mass, mass).

What a removed voxel becomes: with ``replace_with="touching"`` the component gets the label that most of its neighbours
have among those of other structures, so that a false tumour inside a kidney becomes kidney, and background where it
touches no other structure; with ``"background"`` always background. The challenge counts tumours and cysts as part of
the kidney region, and the model that labelled the speck as a mass was sure of the organ: background would punch a hole
into it.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.components import find_components, label_components, mask_of
from nnunet_kits.errors import PostprocessingError
from nnunet_kits.geometry import bounding_box, crop, pasted_like
from nnunet_kits.labels import Label
from nnunet_kits.postprocessing.lengths import remove_distant, remove_short
from nnunet_kits.postprocessing.structures import (
    LabelMap,
    check_count,
    check_positive,
    check_replacement,
    members_of,
    without,
)
from nnunet_kits.postprocessing.voxel import Voxel, mm3_of


def keep_largest(
    labels: LabelMap, voxel: Voxel | float, *, region: str, count: int = 1, replace_with: str = "touching"
) -> LabelMap:
    """Keep the ``count`` largest components of a structure, and those as large as the last of them.

    Args:
        labels: label map.
        voxel: volume of a voxel, or its edges; plays no part here.
        region: the structure, for example ``kidney_and_mass``.
        count: how many to keep; 2 for kidneys.
        replace_with: what the others become.

    Raises:
        PostprocessingError: a parameter out of its range.
    """
    members = members_of("region", region)
    check_count("count", count)
    check_replacement(replace_with)
    found = find_components(labels, members)
    if found is None or found.count <= count:
        return labels.copy()
    limit = np.sort(found.voxels[1:])[-count]
    return without(labels, found, found.voxels < limit, members, replace_with)


def remove_small(
    labels: LabelMap,
    voxel: Voxel | float,
    *,
    region: str,
    min_volume_mm3: float | None = None,
    min_voxels: int | None = None,
    replace_with: str = "touching",
) -> LabelMap:
    """Remove the components of a structure that are under a size.

    Args:
        labels: label map.
        voxel: volume of a voxel, or its edges.
        region: the structure.
        min_volume_mm3: the smallest volume that stays. Slices are 0.5 to 5 mm thick, so sizes belong in mm3.
        min_voxels: instead of it, the smallest number of voxels that stays, as some papers have it.
        replace_with: what the removed become.

    Raises:
        PostprocessingError: both sizes or none, or a parameter out of its range.
    """
    members = members_of("region", region)
    check_replacement(replace_with)
    if (min_volume_mm3 is None) == (min_voxels is None):
        raise PostprocessingError("remove_small needs either min_volume_mm3 or min_voxels, and not both.")
    if min_volume_mm3 is not None:
        check_positive("min_volume_mm3", min_volume_mm3)
        limit = min_volume_mm3 / mm3_of(voxel)
    else:
        check_count("min_voxels", min_voxels)
        limit = float(min_voxels or 0)
    found = find_components(labels, members)
    if found is None:
        return labels.copy()
    return without(labels, found, found.voxels < limit - 1e-6, members, replace_with)


def remove_unattached(
    labels: LabelMap,
    voxel: Voxel | float,
    *,
    region: str = "mass",
    to: str = "kidney",
    max_volume_mm3: float | None = None,
    replace_with: str = "touching",
) -> LabelMap:
    """Remove the components of a structure that touch no voxel of another; none where there is nothing to touch.

    With ``mass``, tumours and cysts hold together: a tumour behind a cyst that touches the kidney stays.

    Args:
        labels: label map.
        voxel: volume of a voxel, or its edges.
        region: the structure whose components are looked at.
        to: the structure that they must touch.
        max_volume_mm3: a larger component stays in any case, since a tumour may have replaced its kidney.
        replace_with: what the removed become.

    Raises:
        PostprocessingError: structures that overlap, or a parameter out of its range.
    """
    members, anchors = members_of("region", region), members_of("to", to)
    check_replacement(replace_with)
    if set(members) & set(anchors):
        raise PostprocessingError(f"remove_unattached: {region} and {to} overlap. Name two that do not.")
    if max_volume_mm3 is not None:
        check_positive("max_volume_mm3", max_volume_mm3)
    found = find_components(labels, (*members, *anchors))
    if found is None:
        return labels.copy()
    # A component of the union without an anchor is one component of the structure, and the other way round.
    anchored = mask_of(found.labels.ravel()[found.places], anchors)
    alone = np.bincount(found.ids_at_places, weights=anchored, minlength=found.count + 1) == 0
    if max_volume_mm3 is not None:
        alone &= found.voxels <= max_volume_mm3 / mm3_of(voxel) + 1e-6
    if not anchored.any():
        return labels.copy()
    return without(labels, found, alone, members, replace_with)


def fill_holes(
    labels: LabelMap, voxel: Voxel | float, *, region: str = "kidney_and_mass", max_volume_mm3: float | None = None
) -> LabelMap:
    """Fill background that a structure encloses on all sides.

    A hole is what a structure cuts off from the border of the map, connected over faces. Its background voxels get the
    structure's label that most of the hole's face neighbours have; labels inside a hole stay.

    Args:
        labels: label map.
        voxel: volume of a voxel, or its edges.
        region: the structure that encloses.
        max_volume_mm3: larger holes stay open; None fills all.

    Raises:
        PostprocessingError: a parameter out of its range.
    """
    members = members_of("region", region)
    if max_volume_mm3 is not None:
        check_positive("max_volume_mm3", max_volume_mm3)
    outer = bounding_box(labels)
    if outer is None:
        return labels.copy()
    around = np.array(crop(labels, outer), order="C")
    inner = bounding_box(mask_of(around, members))
    if inner is None:
        return labels.copy()
    places, filling = _fillings(
        crop(around, inner), members, None if max_volume_mm3 is None else max_volume_mm3 / mm3_of(voxel)
    )
    if not len(places):
        return labels.copy()
    part = np.array(crop(around, inner), order="C")
    part.ravel()[places] = filling
    crop(around, inner)[...] = part
    return pasted_like(labels, outer, around)


OPERATIONS: Mapping[str, Callable[..., LabelMap]] = {
    operation.__name__: operation
    for operation in (keep_largest, remove_small, remove_unattached, remove_distant, remove_short, fill_holes)
}
"""Name -> operation, as chains write it."""


def _fillings(
    part: LabelMap, members: tuple[Label, ...], max_voxels: float | None
) -> tuple[NDArray[np.intp], LabelMap]:
    """Flat indices of the background voxels in holes, and what each is filled with.

    Args:
        part: the smallest box that holds the structure, so that what is outside it touches a side of the box.
        members: labels of the structure.
        max_voxels: of a hole.
    """
    mask = np.ascontiguousarray(mask_of(part, members))
    ids = label_components(~mask, connectivity=6)
    holes = np.ones(int(ids.max()) + 1, bool)
    for side in (ids[0], ids[-1], ids[:, 0], ids[:, -1], ids[:, :, 0], ids[:, :, -1]):
        holes[side.ravel()] = False
    holes[0] = False
    at = np.flatnonzero(holes[ids].ravel()) if holes.any() else np.empty(0, np.intp)
    own = ids.ravel()[at].astype(np.intp)
    if max_voxels is not None:
        small = np.bincount(own, minlength=len(holes))[own] <= max_voxels + 1e-6
        at, own = at[small], own[small]
    flat, inside = part.ravel(), mask.ravel()
    counts = np.zeros(len(holes) * 256, np.intp)
    _, rows, columns = part.shape
    for step in (1, columns, rows * columns):
        for beside in (at - step, at + step):
            hit = inside[beside]
            counts += np.bincount(own[hit] * 256 + flat[beside[hit]], minlength=len(counts))
    background = flat[at] == 0
    table = counts.reshape(-1, 256).argmax(axis=1).astype(np.uint8)
    return at[background], table[own[background]]
