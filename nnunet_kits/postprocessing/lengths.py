"""Operations that measure lengths: how far a component lies from another structure, and how long it is in a slice."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from nnunet_kits.components import component_boxes, find_components, mask_of
from nnunet_kits.errors import PostprocessingError
from nnunet_kits.geometry import crop, grow_box, whole_box
from nnunet_kits.measurement.lengths import hull_corners
from nnunet_kits.postprocessing.structures import LabelMap, check_positive, check_replacement, members_of, without
from nnunet_kits.postprocessing.voxel import Voxel, voxel_of


def remove_distant(
    labels: LabelMap,
    voxel: Voxel | float,
    *,
    region: str = "mass",
    to: str = "kidney",
    max_distance_mm: float = 4.0,
    max_volume_mm3: float | None = None,
    replace_with: str = "touching",
) -> LabelMap:
    """Remove the components of a structure that are further than a distance from another, all where there is no other.

    Args:
        labels: label map.
        voxel: a voxel's edges; of a volume alone, those of a cube.
        region: the structure whose components are looked at.
        to: the structure that they must be near.
        max_distance_mm: between the centres of the nearest voxels of both.
        max_volume_mm3: a larger component stays in any case.
        replace_with: what the removed become.

    Raises:
        PostprocessingError: structures that overlap, or a parameter out of its range.
    """
    members, anchors = members_of("region", region), members_of("to", to)
    check_replacement(replace_with)
    if set(members) & set(anchors):
        raise PostprocessingError(f"remove_distant: {region} and {to} overlap. Name two that do not.")
    check_positive("max_distance_mm", max_distance_mm)
    if max_volume_mm3 is not None:
        check_positive("max_volume_mm3", max_volume_mm3)
    found = find_components(labels, members)
    if found is None:
        return labels.copy()
    edges = voxel_of(voxel)
    small = np.ones(found.count + 1, bool)
    if max_volume_mm3 is not None:
        small = found.voxels <= max_volume_mm3 / edges.mm3 + 1e-6
    far = np.zeros(found.count + 1, bool)
    for number, box in enumerate(component_boxes(found.ids), 1):
        if small[number]:
            around = grow_box(box, max_distance_mm, edges.edges_mm, whole_box(found.ids.shape))
            near = mask_of(np.ascontiguousarray(crop(found.labels, around)), anchors)
            here = crop(found.ids, around) == number
            distances = ndimage.distance_transform_edt(~near, sampling=edges.edges_mm) if near.any() else None
            far[number] = distances is None or distances[here].min() > max_distance_mm + 1e-6
    return without(labels, found, far, members, replace_with)


def remove_short(
    labels: LabelMap,
    voxel: Voxel | float,
    *,
    region: str = "mass",
    min_diameter_mm: float = 3.0,
    replace_with: str = "touching",
) -> LabelMap:
    """Remove the components of a structure whose largest diameter in an axial slice is under a length.

    The diameter is Feret's: the largest distance between the centres of two voxels of the component in one slice, so
    that of a single voxel is 0.

    Args:
        labels: label map.
        voxel: a voxel's edges, and which axis is axial; of a volume alone, those of a cube, and the first.
        region: the structure.
        min_diameter_mm: the smallest diameter that stays.
        replace_with: what the removed become.

    Raises:
        PostprocessingError: a parameter out of its range.
    """
    members = members_of("region", region)
    check_replacement(replace_with)
    check_positive("min_diameter_mm", min_diameter_mm)
    found = find_components(labels, members)
    if found is None:
        return labels.copy()
    edges = voxel_of(voxel)
    short = np.zeros(found.count + 1, bool)
    for number, box in enumerate(component_boxes(found.ids), 1):
        mask = np.moveaxis(crop(found.ids, box) == number, edges.axial, 0)
        in_plane = np.delete(edges.edges_mm, edges.axial)
        short[number] = not any(_feret_mm(plane, in_plane) >= min_diameter_mm - 1e-6 for plane in mask)
    return without(labels, found, short, members, replace_with)


def _feret_mm(plane: NDArray[np.bool_], edges_mm: NDArray[np.float64]) -> float:
    """The largest distance between the centres of two pixels; 0 of none and of one."""
    points = np.argwhere(plane & ~ndimage.binary_erosion(plane)) * edges_mm
    return float(pdist(hull_corners(points)).max()) if len(points) > 1 else 0.0
