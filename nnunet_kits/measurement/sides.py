"""Which kidney is the left one: from the affine, with the midline between the two kidneys."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEFT, RIGHT, BOTH = "left", "right", "both"

APART_MM = 50.0
"""Pieces of kidney whose centres lie further apart from right to left belong to two kidneys."""

LARGE_SHARE = 0.1
"""Pieces under this share of the largest tell nothing about the midline."""

ACROSS_MM, ACROSS_SHARE = 90.0, 0.2
"""A piece this wide, with this share of its voxels on either side of the midline, is a horseshoe kidney."""


@dataclass(frozen=True)
class Midline:
    """What divides left from right.

    Attributes:
        x_mm: RAS x, which grows to the patient's right.
        source: ``kidneys``, half-way between the two; ``image``, its middle, where only one is found.
    """

    x_mm: float
    source: str

    def side_of(self, x_mm: float) -> str:
        """The patient's side of a place."""
        return RIGHT if x_mm > self.x_mm else LEFT


def find_midline(centres_x_mm: NDArray[np.float64], voxels: NDArray[np.intp], middle_x_mm: float) -> Midline:
    """The midline from the pieces of kidney.

    Args:
        centres_x_mm: (n,) RAS x of the centre of each piece; n may be 0.
        voxels: (n,) size of each.
        middle_x_mm: RAS x of the middle of the image.
    """
    if len(voxels):
        large = centres_x_mm[voxels >= LARGE_SHARE * voxels.max()]
        if np.ptp(large) >= APART_MM:
            return Midline(float(large.min() + large.max()) / 2, "kidneys")
    return Midline(middle_x_mm, "image")


def sides_of_pieces(
    ids: NDArray[np.intp], x_mm: NDArray[np.float64], voxels: NDArray[np.intp], midline: Midline
) -> list[str]:
    """The side of every piece of kidney; ``both`` for all where one is a horseshoe kidney.

    Args:
        ids: (m,) the piece, 1 to n, of each kidney voxel.
        x_mm: (m,) RAS x of it.
        voxels: (n,) size of each piece.
        midline: what divides left from right.
    """
    right = np.bincount(ids, weights=x_mm > midline.x_mm, minlength=len(voxels) + 1)[1:] / np.maximum(voxels, 1)
    for piece in np.flatnonzero(voxels >= LARGE_SHARE * voxels.max(initial=0)):
        across = ACROSS_SHARE <= right[piece] <= 1 - ACROSS_SHARE
        if across and np.ptp(x_mm[ids == piece + 1]) >= ACROSS_MM:
            return [BOTH] * len(voxels)
    centres = np.bincount(ids, weights=x_mm, minlength=len(voxels) + 1)[1:] / np.maximum(voxels, 1)
    return [midline.side_of(centre) for centre in centres]
