"""The area of the surface that marching cubes lays between the centres of eight voxels, for any spacing.

The surface cuts the edges of the cube between the eight centres at their middles. The cube's symmetries and the
exchange of inside and outside leave 14 different cases of the 256; the others follow from them.

Source: Lorensen and Cline 1987, "Marching cubes", doi:10.1145/37402.37422, figure 3, for the cases. How their polygons
are cut into triangles is that of DeepMind's package ``surface-distance`` (Apache-2.0); where a polygon is not flat, its
area depends on it.
"""

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

Corner = tuple[int, int, int]

CASES: tuple[tuple[str, int, tuple[int, int, int], tuple[int, int, int]], ...] = (
    ("", 0, (0, 0, 0), (0, 0, 0)),
    ("000", 1, (0, 0, 0), (0, 0, 0)),
    ("000 001", 0, (0, 0, 2), (0, 0, 0)),
    ("000 011", 2, (0, 0, 0), (0, 0, 0)),
    ("000 111", 2, (0, 0, 0), (0, 0, 0)),
    ("000 001 010", 3, (0, 0, 0), (1, 0, 0)),
    ("000 001 110", 1, (0, 0, 2), (0, 0, 0)),
    ("000 011 101", 3, (0, 0, 0), (0, 0, 0)),
    ("000 001 010 011", 0, (0, 0, 0), (2, 0, 0)),
    ("000 001 010 100", 6, (0, 0, 0), (0, 0, 0)),
    ("001 000 010 110", 4, (1, 0, 1), (0, 0, 0)),
    ("000 001 010 111", 4, (0, 0, 0), (1, 0, 0)),
    ("000 001 110 111", 0, (0, 0, 4), (0, 0, 0)),
    ("000 011 101 110", 4, (0, 0, 0), (0, 0, 0)),
)
"""Corners inside, as zyx; then what the area is made of:

- corner triangles, which cut off one corner through the middles of its three edges;
- per axis, halves of the rectangle that cuts off the edge along this axis;
- per axis, halves of the square that halves the cube across this axis.
"""

CORNERS: tuple[Corner, ...] = tuple((z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1))
"""The bit ``4 z + 2 y + x`` of a code is corner (z, y, x)."""


@functools.lru_cache(maxsize=256)
def element_areas_mm2(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Area of a surface element by its code.

    Args:
        spacing_mm: along the axes (z, y, x) of the codes.

    Returns:
        (256,), 0 for the codes 0 and 255, which are no elements.
    """
    z, y, x = spacing_mm
    faces = (y * x, z * x, z * y)  # of a voxel, across each axis
    corner = math.hypot(*faces) / 8
    edges = [math.hypot(*(face for other, face in enumerate(faces) if other != axis)) / 4 for axis in range(3)]
    units = np.array([corner, *edges, *(face / 2 for face in faces)])
    areas: NDArray[np.float64] = _composition() @ units
    areas.setflags(write=False)
    return areas


@functools.cache
def _composition() -> NDArray[np.float64]:
    """(256, 7): of each code the corner triangles, half rectangles along and half squares across each axis."""
    table = np.full((256, 7), np.nan)
    for written, triangles, along, across in CASES:
        corners = [(int(c[0]), int(c[1]), int(c[2])) for c in written.split()]
        for axes in itertools.permutations(range(3)):
            parts = [triangles, *(along[axis] for axis in axes), *(across[axis] for axis in axes)]
            for flips in CORNERS:
                turned = [
                    tuple(corner[axis] ^ flip for axis, flip in zip(axes, flips, strict=True)) for corner in corners
                ]
                code = sum(1 << CORNERS.index(corner) for corner in turned)  # type: ignore[arg-type]
                table[[code, 255 - code]] = parts
    return table
