"""Surfaces of masks as the challenges measure them, without a distance transform.

A surface element lies at the corner of eight voxels that are not all in or all out of a mask; which of them are in
tells its area. Two surfaces agree where an element of one has an element of the other within the tolerance. On a CT's
grid the tolerance holds only a few neighbours, so they are looked up, nearest first, for elements that found none yet.

Source: Nikolov et al., "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
radiotherapy", arXiv:1809.04430, and DeepMind's package ``surface-distance``, whose table of areas is used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

CORNERS = tuple((z, y, x) for z in (0, 1) for y in (0, 1) for x in (0, 1))
"""Offsets of the eight voxels around an element, the one with the highest bit of its code first."""


@dataclass(frozen=True)
class Surface:
    """The surface elements of several masks on one grid, one bit a mask.

    Attributes:
        borders: (z + 1 + 2 r, ...) uint8: bit ``k`` set where mask ``k`` has an element, with a rim of width ``r``.
        places: flat indices into ``borders`` of all elements.
        bits: uint8, ``borders`` at ``places``.
        neighbours: (8, elements) uint8, the bits of the voxels around each element, in the order of CORNERS.
    """

    borders: NDArray[np.uint8]
    places: NDArray[np.intp]
    bits: NDArray[np.uint8]
    neighbours: NDArray[np.uint8]

    def of(self, bit: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Flat places and codes (1 to 254) of one mask's elements."""
        mine = np.flatnonzero(self.bits & bit)
        codes = np.zeros(len(mine), np.intp)
        for voxels in self.neighbours:
            codes <<= 1
            codes |= (voxels[mine] & bit) != 0
        return self.places[mine], codes


def find_surface(bits: NDArray[np.uint8], rim: Sequence[int]) -> Surface:
    """Surface elements of the masks in a bit field.

    Args:
        bits: (z, y, x), bit ``k`` set inside mask ``k``.
        rim: extra width along each axis, so that a neighbour may be looked up without leaving the array.
    """
    padded = np.pad(bits, 1)
    some, every = padded, padded
    for axis in range(3):
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        some = some[tuple(lower)] | some[tuple(upper)]
        every = every[tuple(lower)] & every[tuple(upper)]
    found = some & ~every
    inner = np.flatnonzero(found)
    z, y, x = np.unravel_index(inner, found.shape)
    corner = np.ravel_multi_index((z, y, x), padded.shape)
    steps = [int(np.ravel_multi_index(at, padded.shape)) for at in CORNERS]
    flat = padded.ravel()
    neighbours = np.stack([flat[corner + step] for step in steps])
    borders = np.zeros([size + 2 * width for size, width in zip(found.shape, rim, strict=True)], np.uint8)
    borders[tuple(slice(width, width + size) for size, width in zip(found.shape, rim, strict=True))] = found
    places = np.ravel_multi_index((z + rim[0], y + rim[1], x + rim[2]), borders.shape)
    return Surface(borders, places, found.ravel()[inner], neighbours)


def rim_of(spacing_mm: Sequence[float], tolerance_mm: float) -> tuple[int, int, int]:
    """How many elements the tolerance reaches along each axis."""
    z, y, x = (int(tolerance_mm // spacing) for spacing in spacing_mm)
    return z, y, x


@lru_cache(maxsize=64)
def ball(spacing_mm: tuple[float, ...], tolerance_mm: float) -> tuple[tuple[int, int, int], ...]:
    """Offsets no further than the tolerance, nearest first."""
    reach = rim_of(spacing_mm, tolerance_mm)
    axes = [np.arange(-width, width + 1) for width in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    distances = np.sqrt(((offsets * np.asarray(spacing_mm)) ** 2).sum(1))
    order = np.argsort(distances, kind="stable")
    return tuple((int(z), int(y), int(x)) for z, y, x in offsets[order[distances[order] <= tolerance_mm]])


@lru_cache(maxsize=64)
def areas_mm2(spacing_mm: tuple[float, ...]) -> NDArray[np.float64]:
    """Area of a surface element for each of the 256 codes of its eight voxels."""
    from surface_distance import lookup_tables

    table: NDArray[np.float64] = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm)
    kernel = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    weights = [int(kernel[corner]) for corner in CORNERS]
    ours = np.arange(256)
    theirs = sum(((ours >> (7 - position)) & 1) * weight for position, weight in enumerate(weights))
    areas: NDArray[np.float64] = table[theirs]
    return areas


def surface_dice(a: Surface, b: Surface, bit: int, spacing_mm: tuple[float, ...], tolerance_mm: float) -> float:
    """Share of two surfaces' area that lies within the tolerance of the other surface.

    Both empty: 1. One empty: 0.

    Args:
        a: surface on the grid of ``b``, with a rim that the tolerance does not leave.
        b: the other surface.
        bit: of the mask.
        spacing_mm: along the axes.
        tolerance_mm: the largest distance that counts as agreement.
    """
    areas = areas_mm2(spacing_mm)
    agreeing, total = 0.0, 0.0
    for mine, other in ((a, b), (b, a)):
        places, codes = mine.of(bit)
        if not len(places):
            continue
        near = _near(places, other.borders, bit, spacing_mm, tolerance_mm)
        total += float(areas @ np.bincount(codes, minlength=256))
        agreeing += float(areas @ np.bincount(codes[near], minlength=256))
    return agreeing / total if total else 1.0


def _near(
    places: NDArray[np.intp],
    borders: NDArray[np.uint8],
    bit: int,
    spacing_mm: tuple[float, ...],
    tolerance_mm: float,
) -> NDArray[np.bool_]:
    """Which places have an element of the other surface within the tolerance."""
    flat = borders.ravel()
    strides = (borders.shape[1] * borders.shape[2], borders.shape[2], 1)
    left = np.arange(len(places))
    near = np.zeros(len(places), bool)
    for offset in ball(spacing_mm, tolerance_mm):
        step = sum(o * s for o, s in zip(offset, strides, strict=True))
        hit = (flat[places[left] + step] & bit) != 0
        near[left[hit]] = True
        left = left[~hit]
        if not len(left):
            break
    return near
