"""The 95th percentile of the distances between two surfaces, weighted by area."""

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.evaluation.areas import element_areas_mm2
from nnunet_kits.evaluation.surfaces import Spacing, Surface


def robust_hausdorff_mm(a: Surface, b: Surface, spacing_mm: Spacing, percent: float = 95.0) -> float | None:
    """The larger of two percentiles: of the distances from one surface to the other, and back.

    Both empty: 0. One empty: None, since there is no distance.

    Args:
        a: one surface.
        b: the other, on the same lattice.
        spacing_mm: along the axes.
        percent: of the area that must lie closer.

    Source: arXiv:1809.04430; ``compute_robust_hausdorff`` of DeepMind's package ``surface-distance``.
    """
    if not len(a.places) or not len(b.places):
        return 0.0 if len(a.places) == len(b.places) else None
    return max(_percentile_mm(a, b, spacing_mm, percent), _percentile_mm(b, a, spacing_mm, percent))


def _percentile_mm(surface: Surface, other: Surface, spacing_mm: Spacing, percent: float) -> float:
    """The distance to another surface within which a percentage of a surface's area lies."""
    from scipy.spatial import cKDTree

    distances = np.zeros(len(surface.places))
    apart = np.flatnonzero(~other.present[surface.places])
    if len(apart):
        tree = cKDTree(_points_mm(other, other.places, spacing_mm))
        distances[apart] = tree.query(_points_mm(surface, surface.places[apart], spacing_mm))[0]
    areas = element_areas_mm2(spacing_mm)[surface.codes]
    order = np.lexsort((areas, distances))
    share = np.cumsum(areas[order]) / areas.sum()
    return float(distances[order][min(int(np.searchsorted(share, percent / 100)), len(order) - 1)])


def _points_mm(surface: Surface, places: NDArray[np.intp], spacing_mm: Spacing) -> NDArray[np.float64]:
    plane, row, _ = surface.lattice.strides
    z, rest = np.divmod(places - surface.lattice.margin, plane)
    y, x = np.divmod(rest, row)
    points: NDArray[np.float64] = np.stack([z, y, x], axis=1) * np.array(spacing_mm)
    return points
