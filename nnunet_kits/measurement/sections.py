"""What axial sections of a kidney tell: how far a lesion bulges out of it, and where its hilum begins and ends."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.geometry import Box
from nnunet_kits.measurement.lengths import row_ends

HILUM_DEPTH_MM = 5.0
"""From this depth on, the cleft in a section's medial side is taken for the hilum."""

HILUM_LENGTH_MM = 10.0
"""A shorter run of such sections is no hilum; shorter gaps in it are closed."""


@dataclass(frozen=True)
class PolarLines:
    """Where the hilum begins and ends, as positions between axial planes.

    Attributes:
        upper: plane index of the upper polar line; a plane above it has a smaller index.
        lower: plane index of the lower polar line.
    """

    upper: float
    lower: float


def exophytic_share(lesion: NDArray[np.bool_], inside: Box, parenchyma: NDArray[np.bool_]) -> float:
    """Share of a lesion outside the kidney's own outline: 0 is wholly endophytic, 1 wholly exophytic.

    The outline is, in each axial plane, the convex hull of the parenchyma; a plane without parenchyma has none. Where a
    lesion has replaced a pole, the hull is smaller than the kidney was, and the share is too large.

    Args:
        lesion: (z, y, x) not empty, in its box.
        inside: the lesion's box within ``parenchyma``.
        parenchyma: (z, y, x) kidney without tumours and cysts, of the lesion's side.

    Source: component E of the R.E.N.A.L. nephrometry score (50 % and more exophytic, less, wholly endophytic), Kutikov
    and Uzzo, Journal of Urology 2009;182:844; outlines as in the KiTS organisers' repository
    neheller/seg-to-nephrometry, there for each piece of a section, here for the whole.
    """
    planes, (first_row, end_row), columns = inside
    within = 0
    at = np.arange(*columns)
    for z in range(*planes):
        section, own = parenchyma[z], lesion[z - planes[0]]
        if not own.any() or not section.any():
            continue
        y, left, right = row_ends(section)
        low, high = -concave_envelope(y, -left), concave_envelope(y, right)
        top, bottom = max(first_row, int(y[0])), min(end_row, int(y[-1]) + 1)
        if top >= bottom:
            continue
        hull = slice(top - int(y[0]), bottom - int(y[0]))
        outline = (at >= low[hull, None] - 1e-9) & (at <= high[hull, None] + 1e-9)
        within += int(np.count_nonzero(own[top - first_row : bottom - first_row] & outline))
    return 1 - within / int(np.count_nonzero(lesion))


def polar_lines(organ: NDArray[np.bool_], medial: int, spacing_zyx_mm: tuple[float, float, float]) -> PolarLines | None:
    """Estimate the polar lines: between them, the medial lip of the kidney is interrupted by its hilum.

    In each axial plane the cleft is measured from the convex hull's medial side to the organ's. The longest run of
    planes with a cleft of :data:`HILUM_DEPTH_MM` and more is the hilum.

    Args:
        organ: (z, y, x) one kidney with its tumours and cysts; z from head to feet.
        medial: 1 where the midline lies at larger x, -1 where it lies at smaller.
        spacing_zyx_mm: voxel edges.

    Returns:
        None where there is no such run, or where it reaches an end of the kidney.

    Source: definition of the polar lines in Kutikov and Uzzo, Journal of Urology 2009;182:844; the estimate from a
    label map, which has no sinus, is ours.
    """
    planes = np.flatnonzero(organ.any(axis=(1, 2)))
    if not len(planes):
        return None
    depth = np.array([_cleft(organ[z], medial) * spacing_zyx_mm[2] for z in range(planes[0], planes[-1] + 1)])
    gap = max(1, round(HILUM_LENGTH_MM / spacing_zyx_mm[0]))
    runs = _runs(depth >= HILUM_DEPTH_MM, gap)
    if not runs:
        return None
    start, stop = max(runs, key=lambda run: run[1] - run[0])
    if (stop - start) * spacing_zyx_mm[0] < HILUM_LENGTH_MM or start == 0 or stop == len(depth):
        return None
    return PolarLines(float(planes[0] + start) - 0.5, float(planes[0] + stop) - 0.5)


def concave_envelope(positions: NDArray[np.intp], values: NDArray[np.intp]) -> NDArray[np.float64]:
    """The least concave function on or above some points, at every whole position from the first to the last.

    Args:
        positions: (n,) ascending.
        values: (n,).
    """
    kept: list[tuple[int, int]] = []
    for x, v in zip(positions.tolist(), values.tolist(), strict=True):
        while len(kept) > 1 and (kept[-1][1] - kept[-2][1]) * (x - kept[-2][0]) <= (v - kept[-2][1]) * (
            kept[-1][0] - kept[-2][0]
        ):
            kept.pop()
        kept.append((x, v))
    at = np.arange(positions[0], positions[-1] + 1)
    envelope: NDArray[np.float64] = np.interp(at, [x for x, _ in kept], [v for _, v in kept])
    return envelope


def _cleft(section: NDArray[np.bool_], medial: int) -> float:
    """Depth, in columns, of the deepest cleft in the medial side of a section; 0 for an empty one."""
    if not section.any():
        return 0.0
    y, left, right = row_ends(section)
    edge = right if medial > 0 else -left
    return float((concave_envelope(y, edge)[y - y[0]] - edge).max())


def _runs(marked: NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    """Half-open runs of marked places, those less than ``gap`` apart joined."""
    runs: list[tuple[int, int]] = []
    for place in np.flatnonzero(marked).tolist():
        if runs and place - runs[-1][1] < gap:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs
