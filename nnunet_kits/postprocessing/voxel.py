"""A voxel of a label map: what operations that measure need to know of it."""

from dataclasses import dataclass

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray


@dataclass(frozen=True)
class Voxel:
    """A voxel.

    Attributes:
        edges_mm: along the array's axes.
        axial: the axis on which axial slices follow each other.
    """

    edges_mm: tuple[float, float, float]
    axial: int = 0

    @property
    def mm3(self) -> float:
        """Its volume."""
        return float(np.prod(self.edges_mm))

    @classmethod
    def of(cls, affine: NDArray[np.float64]) -> "Voxel":
        """A voxel of a file.

        Args:
            affine: (4, 4) index in the array to RAS millimetres.
        """
        first, second, third = (float(edge) for edge in np.linalg.norm(affine[:3, :3], axis=0))
        axes = io_orientation(affine)[:, 0].tolist()
        return cls((first, second, third), axes.index(2))


def voxel_of(voxel: Voxel | float) -> Voxel:
    """A voxel; of a volume alone, a cube."""
    return voxel if isinstance(voxel, Voxel) else Voxel((voxel ** (1 / 3),) * 3)


def mm3_of(voxel: Voxel | float) -> float:
    """The volume of a voxel."""
    return voxel.mm3 if isinstance(voxel, Voxel) else voxel
