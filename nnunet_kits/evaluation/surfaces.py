"""Surfaces of masks as the challenges measure them, without a distance transform.

A surface element lies at the corner that eight voxels share, where they are neither all in the mask nor all out of it.
Which of them are in, a code from 1 to 254, tells its area. Two surfaces agree at an element where the other has one
within the tolerance. On a CT's grid the tolerance holds few offsets, so the other surface is looked up at each of them,
nearest first, for the elements that have found none yet.

Source: Nikolov et al. 2018, "Deep learning to achieve clinically applicable segmentation of head and neck anatomy for
radiotherapy", arXiv:1809.04430. The challenges use its package ``surface-distance``.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.evaluation.areas import element_areas_mm2

Spacing = tuple[float, float, float]
"""Length of a voxel edge in mm along the axes of an array."""

BLOCK_BYTES = 1 << 18
"""How much of a mask is worked on at a time; small enough to stay in the processor's cache."""


@dataclass(frozen=True)
class Lattice:
    """Where surface elements lie: at the corners of the voxels of a box, one more than voxels along each axis.

    A flat array of them has a margin, so that an element can be looked up within ``reach`` of any other.

    Attributes:
        shape: voxels along each axis of the box.
        reach: elements by which an offset may leave the box along each axis.
    """

    shape: tuple[int, int, int]
    reach: tuple[int, int, int]

    @property
    def strides(self) -> tuple[int, int, int]:
        """Steps in a flat array from one element to the next along each axis."""
        row = self.shape[2] + 1 + self.reach[2]
        plane = (self.shape[1] + 1 + self.reach[1]) * row
        return plane, row, 1

    @property
    def margin(self) -> int:
        """Unused places before the first element and after the last."""
        return sum((reach + 1) * stride for reach, stride in zip(self.reach, self.strides, strict=True))

    @property
    def size(self) -> int:
        """Places in a flat array, without the margins."""
        return (self.shape[0] + 1) * self.strides[0]


@dataclass(frozen=True)
class Surface:
    """The surface elements of one mask.

    Attributes:
        lattice: where they can lie.
        present: flat over the lattice with its margins; whether there is an element.
        places: index of each element in ``present``.
        codes: which of the eight voxels around each element are in the mask (uint8, 1 to 254).
    """

    lattice: Lattice
    present: NDArray[np.bool_]
    places: NDArray[np.intp]
    codes: NDArray[np.uint8]


def find_surface(mask: NDArray[np.bool_], reach: tuple[int, int, int] = (0, 0, 0)) -> Surface:
    """The surface elements of a mask; outside its array is outside the mask.

    Args:
        mask: three-dimensional.
        reach: elements along each axis by which :func:`agreeing` may look past the mask's array.

    Returns:
        The surface; bit ``4 z + 2 y + x`` of a code is the voxel on the side (z, y, x) of the element, 0 before, 1
        after it.
    """
    lattice = Lattice((mask.shape[0], mask.shape[1], mask.shape[2]), reach)
    plane, row, _ = lattice.strides
    margin, size = lattice.margin, lattice.size
    voxels = np.zeros(size + 2 * margin, np.uint8)
    grid = voxels[margin : margin + size].reshape(mask.shape[0] + 1, -1, row)
    grid[:-1, : mask.shape[1], : mask.shape[2]] = mask
    present = np.zeros(size + 2 * margin, np.bool_)
    places: list[NDArray[np.intp]] = [np.zeros(0, np.intp)]
    codes: list[NDArray[np.uint8]] = [np.zeros(0, np.uint8)]
    step = max(1, BLOCK_BYTES // plane) * plane
    for start in range(margin, margin + size, step):
        stop = min(start + step, margin + size)
        if not voxels[start - plane - row - 1 : stop].view(np.bool_).any():
            continue
        code: NDArray[np.uint8] = voxels[start - plane - row : stop] * np.uint8(2)  # numpy shifts slower
        code |= voxels[start - plane - row - 1 : stop - 1]
        code = code[row:] * np.uint8(4) | code[:-row]
        code = code[plane:] * np.uint8(16) | code[:-plane]
        found = np.add(code, 1) > 1  # neither 0 nor 255, which wraps
        present[start:stop] = found
        at = np.flatnonzero(found)
        places.append(at + start)
        codes.append(code[at])
    return Surface(lattice, present, np.concatenate(places), np.concatenate(codes))


def reach_of(spacing_mm: Spacing, tolerance_mm: float) -> tuple[int, int, int]:
    """How many voxels a tolerance spans along each axis."""
    z, y, x = (math.floor(tolerance_mm / edge) for edge in spacing_mm)
    return z, y, x


@functools.lru_cache(maxsize=256)
def offsets_within(spacing_mm: Spacing, tolerance_mm: float) -> tuple[tuple[int, int, int], ...]:
    """Offsets in voxels that are no longer than the tolerance, the shortest first."""
    z, y, x = (range(-reach, reach + 1) for reach in reach_of(spacing_mm, tolerance_mm))
    lengths = {(a, b, c): _length_mm((a, b, c), spacing_mm) for a in z for b in y for c in x}
    within = [offset for offset, length in lengths.items() if length <= tolerance_mm]
    return tuple(sorted(within, key=lengths.__getitem__))


def agreeing(surface: Surface, other: Surface, spacing_mm: Spacing, tolerance_mm: float) -> NDArray[np.int64]:
    """How many elements of a surface lie within the tolerance of another, by code.

    Args:
        surface: elements that are counted.
        other: on the same lattice, whose reach must be that of the tolerance or more.
        spacing_mm: along the axes.
        tolerance_mm: the largest distance that counts as agreement.

    Returns:
        (256,) counts.
    """
    places, codes = surface.places, surface.codes
    for offset in offsets_within(spacing_mm, tolerance_mm):
        if not len(places):
            break
        step = sum(o * stride for o, stride in zip(offset, surface.lattice.strides, strict=True))
        missed = np.flatnonzero(~other.present[places + step])
        places, codes = places[missed], codes[missed]
    return _count(surface.codes) - _count(codes)


def surface_dice(a: Surface, b: Surface, spacing_mm: Spacing, tolerance_mm: float) -> float:
    """Share of the area of two surfaces that lies within the tolerance of the other.

    Both empty: 1. One empty: 0.

    Args:
        a: one surface.
        b: the other, on the same lattice, whose reach must be that of the tolerance or more.
        spacing_mm: along the axes.
        tolerance_mm: the largest distance that counts as agreement.
    """
    if not len(a.places) or not len(b.places):
        return float(len(a.places) == len(b.places))
    areas = element_areas_mm2(spacing_mm)
    close = agreeing(a, b, spacing_mm, tolerance_mm) + agreeing(b, a, spacing_mm, tolerance_mm)
    return float(close @ areas / ((_count(a.codes) + _count(b.codes)) @ areas))


def _count(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(codes, minlength=256).astype(np.int64, copy=False)


def _length_mm(offset: Sequence[int], spacing_mm: Spacing) -> float:
    z, y, x = ((o * edge) ** 2 for o, edge in zip(offset, spacing_mm, strict=True))
    return math.sqrt(z + y + x)
