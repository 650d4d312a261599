"""A CT in the making: bodies are painted over one another with soft edges, in a gently deformed patient frame."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.labels import Label
from nnunet_kits.phantom.grid import Grid
from nnunet_kits.phantom.shapes import Array, Points, Vector, capsule, vector

WARP_MARGIN_MM = 8.0
"""No part of the patient is moved further than this by the deformation."""

KNOTS = 32
"""Knots of a random field along each axis before it repeats."""


@dataclass(frozen=True)
class Region:
    """A box of the image: all voxels that a body can reach.

    Attributes:
        window: half-open index range along (z, y, x).
        points: deformed patient coordinates of its voxels.
        z: patient z of its slices, not deformed.
        y: patient y of its rows, not deformed.
        x: patient x of its columns, not deformed.
    """

    window: tuple[slice, slice, slice]
    points: Points
    z: NDArray[np.float32]
    y: NDArray[np.float32]
    x: NDArray[np.float32]

    @property
    def empty(self) -> bool:
        """Whether the box lies outside the image."""
        return self.points[0].size == 0


def smooth_noise(region: Region, rng: np.random.Generator, knot_mm: float) -> Array:
    """Smooth random field of about unit variance that is the same however finely the region is sampled.

    Cubic B-splines with random heights at knots ``knot_mm`` apart, which repeat after :data:`KNOTS` knots.

    Args:
        region: where to evaluate it.
        rng: source of the heights; always the same number of draws.
        knot_mm: about half the length of a wave.
    """
    heights = rng.standard_normal((KNOTS, KNOTS, KNOTS), dtype=np.float32) * np.float32(3.0)
    bases = []
    for number, axis in enumerate((region.z, region.y, region.x)):
        t = np.abs(np.mod(axis[:, None] / knot_mm - np.arange(KNOTS) + KNOTS / 2, KNOTS) - KNOTS / 2)
        near, far = 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6
        base = np.where(t < 1, near, far).astype(np.float32)  # (voxels, knots)
        used = base.any(axis=0)
        heights = heights.compress(used, axis=number)
        bases.append(np.ascontiguousarray(base[:, used]))
    field = np.tensordot(bases[0], heights, axes=(1, 0))  # (z, knots, knots)
    rows = np.matmul(bases[1], np.tensordot(field, bases[2], axes=(2, 1)))  # (z, y, x)
    return np.asarray(rows, dtype=np.float32)


class Canvas:
    """HU and labels of one phantom, painted body by body.

    Attributes:
        grid: where the voxels are.
        hu: (z, y, x) float32 Hounsfield units, air to begin with.
        label: (z, y, x) uint8 values of :class:`nnunet_kits.labels.Label`.
        cavity: (z, y, x) distance in mm to the abdominal cavity; set when the trunk is painted.
    """

    def __init__(self, grid: Grid, rng: np.random.Generator, warp_mm: float = 3.0) -> None:
        self.grid = grid
        self.hu: Array = np.full(grid.shape, -1000.0, np.float32)
        self.label: NDArray[np.uint8] = np.zeros(grid.shape, np.uint8)
        self.cavity: Array = np.full(grid.shape, 1.0e3, np.float32)
        self._edge_mm = max(grid.spacing_zyx_mm[1], 1.0)
        flat = Region((slice(None), slice(None), slice(None)), (self.hu, self.hu, self.hu), grid.z, grid.y, grid.x)
        axes = (grid.z[:, None, None], grid.y[None, :, None], grid.x[None, None, :])
        warped = []
        for axis in axes:
            shift = smooth_noise(flat, rng, 60.0) * np.float32(warp_mm)
            shift += smooth_noise(flat, rng, 20.0) * np.float32(warp_mm / 5)
            warped.append(axis + np.clip(shift, -WARP_MARGIN_MM, WARP_MARGIN_MM))
        self._points: Points = (warped[0], warped[1], warped[2])

    def region(self, centre: Vector | None = None, reach: Vector = (0.0, 0.0, 0.0)) -> Region:
        """The box of all voxels within ``reach`` of ``centre`` along each axis; the whole image without a centre."""
        axes = (self.grid.z, self.grid.y, self.grid.x)
        window = [slice(0, len(a)) for a in axes]
        if centre is not None:
            window = []
            for axis, c, r in zip(axes, centre, reach, strict=True):
                first, last = np.searchsorted(axis, (c - r - WARP_MARGIN_MM, c + r + WARP_MARGIN_MM))
                window.append(slice(int(first), int(last)))
        box = (window[0], window[1], window[2])
        z, y, x = self._points
        return Region(box, (z[box], y[box], x[box]), axes[0][box[0]], axes[1][box[1]], axes[2][box[2]])

    def tube(self, points: NDArray[np.float64], radii: NDArray[np.float64]) -> tuple[Region, Array]:
        """Region and distance of a tube along (n, 3) ``points`` with a radius at each."""
        low, high, widest = points.min(0), points.max(0), float(radii.max())
        middle, half = (low + high) / 2, (high - low) / 2 + widest
        whole = self.region(vector(middle), vector(half))
        distance = np.full(whole.points[0].shape, 1.0e3, np.float32)
        corner = [w.start for w in whole.window]
        for start, end, r0, r1 in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
            part = self.region(vector((start + end) / 2), vector(np.abs(end - start) / 2 + max(r0, r1)))
            if part.empty:
                continue
            here = tuple(slice(w.start - c, w.stop - c) for w, c in zip(part.window, corner, strict=True))
            piece = capsule(part.points, vector(start), vector(end), float(r0), float(r1))
            distance[here] = np.minimum(distance[here], piece)
        return whole, distance

    def paint(self, region: Region, distance: Array, hu: float | Array, label: Label | None = None) -> None:
        """Lay a body over what is there: its edge is a pixel wide, its label ends where the distance is 0."""
        if region.empty:
            return
        touched = distance < 0.5 * self._edge_mm
        cover = np.minimum(0.5 - distance[touched] / np.float32(self._edge_mm), 1)
        view = self.hu[region.window]
        under = view[touched]
        over = hu[touched] if isinstance(hu, np.ndarray) else np.float32(hu)
        view[touched] = under + cover * (over - under)
        if label is not None:
            self.label[region.window][distance < 0] = label
