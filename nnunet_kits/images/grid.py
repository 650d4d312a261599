"""Where the voxels of a file lie, and when two files lie on one grid."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError

AFFINE_TOLERANCE_MM = 1e-2
"""Two affines are the same grid when no corner of the volume lies further apart than this."""


@dataclass(frozen=True)
class Grid:
    """The voxels of a file.

    Attributes:
        shape: voxels along the file's own axes; for KiTS that is (slices, rows, columns) = (z, y, x).
        affine: (4, 4) voxel index to RAS millimetres.
        dtype: how the voxels are stored.
        placed: whether the file states where they lie; else ``affine`` is a guess from the spacing alone.
        note: what a user should know of how the header states it; empty where it contradicts itself nowhere.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    dtype: np.dtype[np.generic]
    placed: bool = True
    note: str = ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel edge along each axis."""
        first, second, third = (float(edge) for edge in voxel_sizes(self.affine))
        return first, second, third

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def distance_mm(self, affine: NDArray[np.float64]) -> float:
        """How far apart this grid and another affine place a corner voxel at most; NaN where an affine holds NaN."""
        corners = [(*corner, 1.0) for corner in itertools.product(*((0.0, n - 1.0) for n in self.shape))]
        apart = np.array(corners) @ (self.affine - affine).T
        return float(np.linalg.norm(apart[:, :3], axis=1).max())

    def is_same(self, other: "Grid") -> bool:
        """Whether another file's voxels lie in the same places."""
        return self.shape == other.shape and self.distance_mm(other.affine) <= AFFINE_TOLERANCE_MM


def is_singular(affine: NDArray[np.float64]) -> bool:
    """Whether an affine (4, 4) holds what is no number, or lays voxels onto each other."""
    return not np.all(np.isfinite(affine)) or abs(np.linalg.det(affine[:3, :3])) < 1e-9


def check_placed(path: Path, grid: Grid) -> None:
    """Refuse a file that does not state its orientation, where right and left matter.

    Raises:
        ImageError: naming the file.
    """
    if not grid.placed:
        lacking = "neither sform nor qform is set" if ".nii" in path.name else "its header states no orientation"
        raise ImageError(
            f"{path}: {lacking}, so nothing tells right from left. "
            "Export it again, or copy the affine of a file on the same voxels."
        )


def check_same_grid(case: str, image: Grid, label: Grid) -> None:
    """Refuse an image and a label map that do not lie on the same voxel grid.

    Raises:
        ImageError: different shape or affine.
    """
    if image.shape != label.shape:
        raise ImageError(
            f"{case}: the image is {image.shape} but the label map is {label.shape} voxels. "
            "Both must lie on one grid: download the case again."
        )
    difference = image.distance_mm(label.affine)
    if not difference <= AFFINE_TOLERANCE_MM:
        raise ImageError(
            f"{case}: the affines of image and label map differ by up to {difference:.4g} mm "
            f"(allowed {AFFINE_TOLERANCE_MM} mm). Both must lie on one grid: download the case again."
        )
