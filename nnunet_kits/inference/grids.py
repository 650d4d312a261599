"""Between a scan's own voxels and the grid that a model sees.

nnU-Net turns a scan's axes (``transpose_forward``), crops what is zero, and resamples the rest to the plans' spacing.
Voxel ``i`` of the scan's ``n`` lies at ``(i + 0.5) * m / n - 0.5`` on the model's ``m``. All boxes here are half-open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from numpy.typing import NDArray

from nnunet_kits.geometry import Box
from nnunet_kits.inference.model import Model


@dataclass(frozen=True)
class ModelGrid:
    """How one scan lies on one model's grid; every triple follows the model's axes (``transpose_forward``).

    Attributes:
        axes: the scan's axis for each of the model's.
        scan_shape: voxels of the scan.
        scan_spacing_mm: of the scan.
        cropped: the scan's box that is not all zero: only that is resampled.
        shape: voxels of the model's grid over ``cropped``.
        spacing_mm: of the model's grid, as the plans state it.
    """

    axes: tuple[int, int, int]
    scan_shape: tuple[int, int, int]
    scan_spacing_mm: tuple[float, float, float]
    cropped: Box
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def _scale(self, axis: int) -> float:
        """Scan voxels a model voxel."""
        start, stop = self.cropped[axis]
        return (stop - start) / self.shape[axis]

    def scan_box_of(self, model_box: Box) -> Box:
        """The scan's voxels (model's axis order) that a box of the model's grid covers."""
        found = []
        for axis, (start, stop) in enumerate(model_box):
            (offset, end), scale = self.cropped[axis], self._scale(axis)
            found.append((offset + math.floor(start * scale), min(end, offset + math.ceil(stop * scale))))
        return found[0], found[1], found[2]

    def turn(self, box: Box) -> Box:
        """A box in the scan's axis order, in the model's."""
        return box[self.axes[0]], box[self.axes[1]], box[self.axes[2]]

    def turn_back(self, box: Box) -> Box:
        """A box in the model's axis order, in the scan's."""
        back = [box[self.axes.index(axis)] for axis in range(3)]
        return back[0], back[1], back[2]


def model_grid(model: Model, nonzero: Box, shape: Sequence[int], spacing_mm: Sequence[float]) -> ModelGrid:
    """Lay a scan on a model's grid.

    Args:
        model: a trained model.
        nonzero: the scan's box that is not all zero, in the scan's own axis order.
        shape: of the scan.
        spacing_mm: of the scan.
    """
    a, b, c = (int(axis) for axis in model.plans.transpose_forward)
    turned = (float(spacing_mm[a]), float(spacing_mm[b]), float(spacing_mm[c]))
    given = [float(edge) for edge in model.configuration.spacing]
    z, y, x = given if len(given) == 3 else [turned[0], *given]
    cropped = (nonzero[a], nonzero[b], nonzero[c])
    extent = [stop - start for start, stop in cropped]
    resampled = model.configuration.configuration["resampling_fn_data"] != "no_resampling_data_or_seg_to_shape"
    p, q, r = (int(n) for n in (compute_new_shape(extent, turned, (z, y, x)) if resampled else extent))
    return ModelGrid((a, b, c), (shape[a], shape[b], shape[c]), turned, cropped, (p, q, r), (z, y, x))


def nonzero_box(scan: NDArray[np.generic]) -> Box:
    """What nnU-Net keeps of a scan before resampling: the box of its voxels that are not 0; all where there is none."""
    box: list[tuple[int, int]] = [(0, size) for size in scan.shape]
    for axis, size in enumerate(scan.shape):
        planes = np.moveaxis(scan, axis, 0)
        start = next((i for i in range(size) if planes[i].any()), None)
        if start is None:
            break
        box[axis] = (start, next(i for i in range(size, start, -1) if planes[i - 1].any()))
    return box[0], box[1], box[2]
