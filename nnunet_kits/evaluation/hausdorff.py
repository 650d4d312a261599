"""The 95th percentile of surface distances, as DeepMind's package weighs it by area."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nnunet_kits.evaluation.surfaces import areas_mm2, find_surface
from nnunet_kits.geometry import bounding_box, crop


def robust_hausdorff_mm(
    a: NDArray[np.bool_], b: NDArray[np.bool_], spacing_mm: Sequence[float], percent: float = 95.0
) -> float | None:
    """The larger of two area-weighted percentiles of the distances between two surfaces.

    Both masks empty: 0. One empty: None, since there is no distance.

    Args:
        a: (z, y, x).
        b: of the same shape.
        spacing_mm: along the axes.
        percent: of the area that must lie closer.

    Source: arXiv:1809.04430; ``surface_distance.compute_robust_hausdorff``.
    """
    box = bounding_box(a | b)
    if box is None:
        return 0.0
    if not a.any() or not b.any():
        return None
    z, y, x = (float(edge) for edge in spacing_mm)
    areas = areas_mm2((z, y, x))
    points, weights = [], []
    for mask in (a, b):
        surface = find_surface(crop(mask, box).astype(np.uint8), (0, 0, 0))
        places, codes = surface.of(1)
        points.append(np.stack(np.unravel_index(places, surface.borders.shape), 1) * (z, y, x))
        weights.append(areas[codes])
    found = []
    for mine, other in ((0, 1), (1, 0)):
        distances = cKDTree(points[other]).query(points[mine])[0]
        order = np.lexsort((weights[mine], distances))
        share = np.cumsum(weights[mine][order]) / weights[mine].sum()
        found.append(distances[order][min(int(np.searchsorted(share, percent / 100)), len(order) - 1)])
    return float(max(found))
