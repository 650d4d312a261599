"""Diameters of voxel sets, in millimetres, on any grid.

The surface of a voxel set lies half a voxel beyond the centres of its outermost voxels, along each axis: where a
mesh of the mask at level one half has its corners. A single voxel is thus as long as its edges, and a digitised ball is
neither too small nor too large.

Source: Maximum 2D diameter (slice) and maximum 3D diameter as pyradiomics defines them, on the vertices of the surface
mesh: van Griethuysen et al., Cancer Research 2017;77(21):e104.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEW = 400
"""Up to so many points every pair is compared; of more, the corners of their convex hull."""


@dataclass(frozen=True)
class Diameter:
    """The longest straight line between two points of a surface.

    Attributes:
        mm: its length.
        ends_zyx: (2, 3) its ends as voxel indices (z, y, x), halves where they lie on a voxel's face.
    """

    mm: float
    ends_zyx: NDArray[np.float64]


def axial_diameter(mask: NDArray[np.bool_], steps_mm: NDArray[np.float64]) -> Diameter:
    """The largest diameter within one axial plane, as a radiologist measures a lesion.

    Args:
        mask: (z, y, x), not empty.
        steps_mm: (3, 3), columns: what one step along z, y, x is in millimetres.
    """
    occupied = np.flatnonzero(mask.any(axis=(1, 2)))
    ends = {int(z): _surface(*row_ends(mask[z])) for z in occupied}
    edges = steps_mm[:, 1:]
    bounds = {z: _bound_mm(np.ptp(points, axis=0), edges) for z, points in ends.items()}
    best = Diameter(0.0, np.zeros((2, 3)))
    for z in sorted(bounds, key=lambda z: (-bounds[z], z)):
        if bounds[z] <= best.mm:
            break
        length, pair = _longest(ends[z].astype(float), edges)
        if length > best.mm:
            best = Diameter(length, np.column_stack([np.full(2, float(z)), pair]))
    return best


def diameter_3d(mask: NDArray[np.bool_], steps_mm: NDArray[np.float64]) -> Diameter:
    """The largest diameter in any direction.

    Args:
        mask: (z, y, x), not empty.
        steps_mm: (3, 3), columns: what one step along z, y, x is in millimetres.
    """
    line, left, right = row_ends(mask.reshape(-1, mask.shape[2]))
    z, y = np.divmod(line, mask.shape[1])
    return Diameter(*_longest(_surface(z, y, left, right).astype(float), steps_mm))


def row_ends(section: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Occupied rows of a plane, and their first and last column."""
    y = np.flatnonzero(section.any(axis=1))
    rows = section[y]
    return y, rows.argmax(axis=1), section.shape[1] - 1 - rows[:, ::-1].argmax(axis=1)


def hull_corners(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The points that can be corners of the convex hull; in a plane or on a line too.

    Args:
        points: (n, d).
    """
    if len(points) <= FEW:
        return points
    from scipy.spatial import ConvexHull

    centred = points - points.mean(axis=0)
    _, spread, axes = np.linalg.svd(centred, full_matrices=False)
    flat = centred @ axes[spread > 1e-9 * max(spread[0], 1.0)].T
    if flat.shape[1] == 1:
        return points[[flat[:, 0].argmin(), flat[:, 0].argmax()]]
    corners: NDArray[np.float64] = points[ConvexHull(flat).vertices]
    return corners


def _surface(*indices: NDArray[np.intp]) -> NDArray[np.intp]:
    """(n, d) voxels at both ends of rows, without doubles, from the rows' indices and their first and last column."""
    *rows, left, right = indices
    ends = np.concatenate([np.column_stack([*rows, left]), np.column_stack([*rows, right])])
    found: NDArray[np.intp] = np.unique(ends, axis=0)
    return found


def _longest(points: NDArray[np.float64], edges_mm: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Length of the longest line between the surfaces around two of the points, and its ends.

    Half an edge beyond both ends of a line makes a whole edge; along which axis it is longest is tried.

    Args:
        points: (n, d) voxel indices.
        edges_mm: (3, d), columns: what one step along each axis is in millimetres.
    """
    corners = hull_corners(points)
    places = corners @ edges_mm.T
    best, first, second, along = -1.0, 0, 0, 0
    for start in range(0, len(corners), 128):  # bounds the memory of all pairs
        between = places[start : start + 128, None] - places[None]
        for axis in range(corners.shape[1]):
            longer = between + edges_mm[:, axis]  # every pair is there in both directions, so one sign will do
            squared = np.einsum("ijk,ijk->ij", longer, longer)
            top = int(squared.argmax())
            if squared.flat[top] > best:
                best, along = float(squared.flat[top]), axis
                first, second = start + top // len(corners), top % len(corners)
    ends = np.stack([corners[first], corners[second]])
    ends[:, along] += (0.5, -0.5)
    return best**0.5, ends


def _bound_mm(extent: NDArray[np.intp], edges_mm: NDArray[np.float64]) -> float:
    """No two surface points in a box of this extent (rows, columns) lie further apart."""
    diagonals = edges_mm @ np.array([[extent[0], extent[0]], [extent[1], -extent[1]]])
    return float(np.linalg.norm(diagonals, axis=0).max() + np.linalg.norm(edges_mm, axis=0).max())
