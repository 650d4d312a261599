"""Sizes and voxel grids of phantoms, in the geometry of KiTS.

Array axes are (slices, rows, columns) = (z, y, x): slices run from the chest to the feet, rows from front to back,
columns from the patient's right to the left, so nibabel's axis codes are ('I', 'P', 'L') and the affine has its three
numbers off the diagonal. Shown as it is stored, a slice stands as a radiologist expects: liver on the left.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import KitsError


@dataclass(frozen=True)
class Size:
    """How finely a phantom is sampled; the patient in it does not depend on this.

    Attributes:
        name: key of :data:`SIZES`, or any word for a size of your own.
        matrix: numbers of rows and columns to draw from.
        slice_spacing_mm: slice spacings to draw from.
        max_slices: draw among the spacings that need no more slices than this, if there are any.
    """

    name: str
    matrix: tuple[int, ...]
    slice_spacing_mm: tuple[float, ...]
    max_slices: int


SIZES: dict[str, Size] = {
    "tiny": Size("tiny", matrix=(64,), slice_spacing_mm=(6.0, 7.5), max_slices=40),
    "small": Size("small", matrix=(144, 152, 160, 168, 176), slice_spacing_mm=(3.75, 4.0, 5.0), max_slices=56),
    "full": Size("full", matrix=(512,), slice_spacing_mm=(1.5, 2.0, 2.5, 3.0, 5.0), max_slices=170),
}
"""Size name -> size: ``tiny`` for tests, ``small`` for demos, ``full`` like a scanner's own 512 x 512."""


def find_size(size: str | Size) -> Size:
    """The size of this name, or the size itself.

    Raises:
        KitsError: no size has this name.
    """
    if isinstance(size, Size):
        return size
    if size not in SIZES:
        raise KitsError(f"phantom size {size!r} is not known. Choose one of: {', '.join(SIZES)}.")
    return SIZES[size]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of one phantom lie.

    Attributes:
        z: patient z of every slice in mm, growing towards the feet.
        y: patient y of every row in mm, growing towards the back.
        x: patient x of every column in mm, growing towards the patient's left.
        spacing_zyx_mm: distances of neighbours.
    """

    z: NDArray[np.float32]
    y: NDArray[np.float32]
    x: NDArray[np.float32]
    spacing_zyx_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of slices, rows and columns."""
        return len(self.z), len(self.y), len(self.x)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) voxel index to RAS millimetres, origin 0 as in KiTS."""
        affine = np.zeros((4, 4))
        dz, dy, dx = self.spacing_zyx_mm
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = -dz, -dy, -dx, 1.0
        return affine


def draw_grid(
    size: Size,
    field_mm: float,
    middle_y_mm: float,
    z_range_mm: tuple[float, float],
    rng: np.random.Generator,
) -> Grid:
    """The grid of one scan: a square field of view, and the slices that cover a stretch of the body.

    Args:
        size: what to draw matrix and slice spacing from.
        field_mm: edge of the square field of view.
        middle_y_mm: patient y of the field's middle; its middle x is 0.
        z_range_mm: first and last patient z to cover.
        rng: source of the choices.
    """
    matrix = int(rng.choice(size.matrix))
    length = z_range_mm[1] - z_range_mm[0]
    fitting = [s for s in size.slice_spacing_mm if length / s <= size.max_slices] or [max(size.slice_spacing_mm)]
    dz = float(rng.choice(fitting))
    d = round(field_mm / matrix, 4)
    offsets = (np.arange(matrix) - (matrix - 1) / 2) * d
    z = z_range_mm[0] + dz * np.arange(max(1, round(length / dz)))
    return Grid(
        z.astype(np.float32), (offsets + middle_y_mm).astype(np.float32), offsets.astype(np.float32), (dz, d, d)
    )
