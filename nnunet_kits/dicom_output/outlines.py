"""Outlines of masks as polygons without holes: what a DICOM structure set is made of."""

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.float64]


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """Closed outlines of a mask, half-way between its voxels and those beside them.

    A voxel is in the mask just where its middle lies inside an outline. Corners are cut, so the area is a little
    smaller than the voxels'. A hole is joined to its outline by a channel of no width, as DICOM PS3.3,
    C.8.8.6.3 calls a keyhole.

    Args:
        mask: (rows, columns).

    Returns:
        Corners (n, 2) of each outline, (column, row) of voxel middles, the last next to the first.
    """
    from skimage.measure import find_contours

    padded = np.pad(mask, 1)
    found = find_contours(padded.astype(np.float64), 0.5, fully_connected="high")
    rings = [ring[:-1, ::-1] - 1 for ring in found]
    tops = [int(np.lexsort((ring[:, 0], ring[:, 1]))[0]) for ring in rings]  # the leftmost of the topmost corners
    whole, holes = [], []
    for ring, top in zip(rings, tops, strict=True):
        column, row = ring[top]
        if padded[int(np.floor(row)) + 1, int(column) + 1]:  # the voxel above
            holes.append((row, column, np.roll(ring, -top, axis=0)))
        else:
            whole.append(ring)
    for _, _, hole in sorted(holes, key=lambda hole: hole[:2]):
        _join(whole, hole)
    return [ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] for ring in whole]  # no corner twice in a row


def _join(whole: list[Ring], hole: Ring) -> None:
    """Join a hole, which begins with its top corner, to the outline around it.

    The channel runs to the left, half-way between two rows, so that no voxel's middle lies on it. What it meets first
    is the outline, or a hole that has its top further up or to the left: such holes must have been joined before.
    """
    column, row = hole[0]
    best, which, after = -np.inf, -1, -1
    for number, ring in enumerate(whole):
        ends = np.roll(ring, -1, axis=0)
        meets = (ring[:, 1] == row) | ((ring[:, 1] - row) * (ends[:, 1] - row) < 0)  # a corner, or an upright side
        left = np.where(meets & (ring[:, 0] < column), ring[:, 0], -np.inf)
        place = int(left.argmax())
        if left[place] > best:
            best, which, after = float(left[place]), number, place
    ring = whole[which]
    channel = [[best, row]]
    whole[which] = np.concatenate([ring[: after + 1], channel, hole, hole[:1], channel, ring[after + 1 :]])
