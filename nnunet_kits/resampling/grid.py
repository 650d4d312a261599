"""Between a scan's own voxels and the grid that a model sees.

nnU-Net turns a scan's axes (``transpose_forward``), crops what is zero, and resamples the rest to the plans' spacing.
Voxel ``i`` of the scan's ``n`` lies at ``(i + 0.5) * m / n - 0.5`` on the model's ``m``. All boxes here are half-open.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnunet_kits.errors import ResamplingError
from nnunet_kits.geometry import Box
from nnunet_kits.resampling.scheme import NO_RESAMPLING, Kind, Scheme, planned_scheme

Edges = tuple[float, float, float]
"""Voxel edges in mm along z, y, x."""


@dataclass(frozen=True)
class ModelGrid:
    """How one scan lies on one model's grid; every triple follows the model's axes (``transpose_forward``).

    Attributes:
        axes: the scan's axis for each of the model's.
        scan_shape: voxels of the scan.
        scan_spacing_mm: of the scan.
        cropped: the scan's box that is not all zero: only that is resampled.
        shape: voxels of the model's grid over ``cropped``.
        spacing_mm: of the model's grid, as the plans state it; the scan's where they leave it on its own voxels.
    """

    axes: tuple[int, int, int]
    scan_shape: tuple[int, int, int]
    scan_spacing_mm: Edges
    cropped: Box
    shape: tuple[int, int, int]
    spacing_mm: Edges

    @property
    def extent(self) -> tuple[int, int, int]:
        """The scan's voxels in ``cropped``."""
        z, y, x = (stop - start for start, stop in self.cropped)
        return z, y, x

    @property
    def voxel_mm(self) -> Edges:
        """True edges of the voxels: the extent is divided into whole voxels, so they differ from the plans'."""
        z, y, x = (n * mm / m for n, mm, m in zip(self.extent, self.scan_spacing_mm, self.shape, strict=True))
        return z, y, x

    def scheme(self, kind: Kind, configuration: Mapping[str, Any]) -> Scheme | None:
        """How nnU-Net interpolates from the scan to this grid; logits, from this grid to the scan.

        Args:
            kind: what is resampled.
            configuration: of the plans, inheritance resolved.

        Returns:
            None where only nnU-Net's own function does what the plans say.
        """
        if configuration[f"resampling_fn_{kind}"] == NO_RESAMPLING and self.shape == self.extent:
            return Scheme(0)
        edges = (self.scan_spacing_mm, self.spacing_mm)
        return planned_scheme(kind, configuration, *(edges[::-1] if kind == "probabilities" else edges))

    def scan_box_of(self, model_box: Box) -> Box:
        """The scan's voxels (model's axis order) that a box of the model's grid covers."""
        found = []
        for axis, (start, stop) in enumerate(model_box):
            (offset, end), scale = self.cropped[axis], self.extent[axis] / self.shape[axis]
            found.append((offset + math.floor(start * scale), min(end, offset + math.ceil(stop * scale))))
        return found[0], found[1], found[2]

    def turn(self, box: Box) -> Box:
        """A box in the scan's axis order, in the model's."""
        return box[self.axes[0]], box[self.axes[1]], box[self.axes[2]]

    def turn_back(self, box: Box) -> Box:
        """A box in the model's axis order, in the scan's."""
        back = [box[self.axes.index(axis)] for axis in range(3)]
        return back[0], back[1], back[2]


def model_grid(
    plans: Mapping[str, Any],
    configuration: Mapping[str, Any],
    nonzero: Box,
    shape: Sequence[int],
    spacing_mm: Sequence[float],
) -> ModelGrid:
    """Lay a scan on the grid that plans ask for.

    Args:
        plans: the plans file.
        configuration: one of its configurations, inheritance resolved.
        nonzero: the scan's box that is not all zero, in the scan's own axis order.
        shape: of the scan.
        spacing_mm: of the scan.

    Raises:
        ResamplingError: no voxel of the grid is left along an axis.

    Source: nnunetv2's compute_new_shape in preprocessing.resampling.default_resampling, version 2.8.1.
    """
    a, b, c = (int(axis) for axis in plans["transpose_forward"])
    before = (float(spacing_mm[a]), float(spacing_mm[b]), float(spacing_mm[c]))
    after = grid_spacing(configuration, before)
    cropped = (nonzero[a], nonzero[b], nonzero[c])
    p, q, r = (
        round(edge / new * (stop - start)) for edge, new, (start, stop) in zip(before, after, cropped, strict=True)
    )
    if min(p, q, r) < 1:
        raise ResamplingError(
            f"{tuple(stop - start for start, stop in cropped)} voxels of {before} mm become {(p, q, r)} at {after} mm: "
            "no voxel is left along an axis. Leave the case out, or plan a finer spacing."
        )
    return ModelGrid((a, b, c), (shape[a], shape[b], shape[c]), before, cropped, (p, q, r), after)


def grid_spacing(configuration: Mapping[str, Any], scan_spacing_mm: Edges) -> Edges:
    """Voxel edges that a scan is brought to.

    Args:
        configuration: of the plans. A two-dimensional one leaves the first axis as it is, and one that names
            :data:`~nnunet_kits.resampling.scheme.NO_RESAMPLING` leaves all.
        scan_spacing_mm: of the scan, in the model's axis order.
    """
    if configuration["resampling_fn_data"] == NO_RESAMPLING:
        return scan_spacing_mm
    given = [float(edge) for edge in configuration["spacing"]]
    z, y, x = given if len(given) == 3 else [scan_spacing_mm[0], *given]
    return z, y, x
