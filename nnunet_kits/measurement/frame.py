"""The foreground of a case in one orientation, and the way from its voxels to millimetres."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.geometry import bounding_box, canonical_affine, crop, to_canonical


@dataclass(frozen=True)
class Frame:
    """The box around all foreground of a case, (z, y, x) = (head to feet, front to back, right to left).

    Attributes:
        labels: contiguous.
        image: the CT in the same box, or None.
        affine: (4, 4) index (z, y, x) to RAS millimetres.
        file_affine: (4, 4) index in the file's own axes to RAS millimetres.
    """

    labels: NDArray[np.uint8]
    image: NDArray[np.generic] | None
    affine: NDArray[np.float64]
    file_affine: NDArray[np.float64]

    @property
    def steps_mm(self) -> NDArray[np.float64]:
        """(3, 3), columns: what one step along z, y, x is in millimetres."""
        return self.affine[:3, :3]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel."""
        return float(abs(np.linalg.det(self.steps_mm))) / 1000

    @property
    def plane_mm(self) -> float:
        """Distance between axial planes, at a right angle to them."""
        across = np.cross(self.steps_mm[:, 1], self.steps_mm[:, 2])
        return float(abs(self.steps_mm[:, 0] @ across) / np.linalg.norm(across))

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Distance between planes, and edges of a voxel within them."""
        _, y, x = np.linalg.norm(self.steps_mm, axis=0).tolist()
        return self.plane_mm, y, x

    def to_mm(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """RAS millimetres of (n, 3) indices (z, y, x)."""
        mm: NDArray[np.float64] = places @ self.steps_mm.T + self.affine[:3, 3]
        return mm

    def to_file(self, mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Index in the file's own axes of one place in RAS millimetres."""
        index: NDArray[np.float64] = np.asarray(
            np.linalg.solve(self.file_affine[:3, :3], mm - self.file_affine[:3, 3]), np.float64
        )
        return index

    def x_mm(self, places: NDArray[np.intp]) -> NDArray[np.float64]:
        """RAS x of flat indices."""
        z, y, x = np.unravel_index(places, self.labels.shape)
        step = self.steps_mm[0]
        mm: NDArray[np.float64] = z * step[0] + y * step[1] + x * step[2] + self.affine[0, 3]
        return mm


def make_frame(
    labels: NDArray[np.uint8], affine: NDArray[np.float64], image: NDArray[np.generic] | None = None
) -> Frame | None:
    """Crop a label map, and an image on the same grid, to the foreground and turn them.

    Args:
        labels: three-dimensional, in the axis order that ``affine`` describes.
        affine: (4, 4) voxel index to RAS millimetres.
        image: of the same shape.

    Returns:
        None where there is no foreground.
    """
    inside = bounding_box(labels)
    if inside is None:
        return None
    moved = affine.astype(np.float64)
    moved[:3, 3] += affine[:3, :3] @ np.array([start for start, _ in inside])
    part = crop(labels, inside)
    turned = np.ascontiguousarray(to_canonical(part, moved))
    hu = None if image is None else to_canonical(crop(image, inside), moved)
    return Frame(turned, hu, canonical_affine(part.shape, moved), affine)
