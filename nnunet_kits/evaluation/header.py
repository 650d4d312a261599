"""The grid of a common NIfTI-1 file from its first 348 bytes, without importing nibabel.

Starting Python with nibabel takes longer than scoring a small case. What is uncommon here is left to
:mod:`nnunet_kits.images`, which reads everything and names what is wrong.
"""

import itertools
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 348
DTYPES = {
    2: "u1",
    4: "<i2",
    8: "<i4",
    16: "<f4",
    64: "<f8",
    256: "i1",
    512: "<u2",
    768: "<u4",
    1024: "<i8",
    1280: "<u8",
}
"""NIfTI's datatype code -> numpy dtype, for the real types.

Source: NIfTI-1, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h (DT_*).
"""


ROUNDING = 3 * float(np.finfo(np.float32).eps)
"""What is left of a unit quaternion's length below this is the rounding of its stored parts, as nibabel has it."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a label map lie.

    Attributes:
        shape: voxels along the file's own axes; for KiTS that is (slices, rows, columns) = (z, y, x).
        affine: (4, 4) voxel index to RAS millimetres.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel edge along the file's own axes."""
        first, second, third = np.sqrt(np.sum(self.affine[:3, :3] ** 2, axis=0)).tolist()
        return first, second, third

    def distance_mm(self, other: "Grid") -> float:
        """How far apart this grid and another of its shape place a corner voxel at most; NaN where an affine has it."""
        corners = [(*corner, 1.0) for corner in itertools.product(*((0.0, n - 1.0) for n in self.shape))]
        apart = np.array(corners) @ (self.affine - other.affine).T
        return float(np.sqrt(np.sum(apart[:, :3] ** 2, axis=1)).max())


@dataclass(frozen=True)
class Header:
    """What is needed to read the voxels: grid, stored dtype, and the byte at which they begin."""

    grid: Grid
    dtype: np.dtype[np.generic]
    offset: int


def parse_header(raw: bytes) -> Header | None:
    """Read a header.

    Returns:
        None where the file is anything but a three-dimensional, unscaled, little-endian, single-file NIfTI-1 image of
        real numbers that says where it lies.
    """
    if len(raw) < HEADER_BYTES or struct.unpack_from("<i", raw)[0] != HEADER_BYTES or raw[344:348] != b"n+1\0":
        return None
    dimensions = struct.unpack_from("<8h", raw, 40)
    dtype = DTYPES.get(struct.unpack_from("<h", raw, 70)[0])
    offset, slope, intercept = struct.unpack_from("<3f", raw, 108)
    affine = _affine(raw)
    scaled = slope != 0 and not np.isnan(slope) and (slope, intercept) != (1, 0)
    if dimensions[0] != 3 or min(dimensions[1:4]) < 1 or dtype is None or scaled or affine is None:
        return None
    if not np.isfinite(offset) or offset < HEADER_BYTES:
        return None
    shape = (int(dimensions[1]), int(dimensions[2]), int(dimensions[3]))
    return Header(Grid(shape, affine), np.dtype(dtype), int(offset))


def _affine(raw: bytes) -> NDArray[np.float64] | None:
    """The sform where its code is set, else the qform where its code is set, else None.

    Source: NIfTI-1 (nifti1.h), "orientation and location in space", methods 2 and 3.
    """
    qform_code, sform_code = struct.unpack_from("<2h", raw, 252)
    affine = np.eye(4)
    if sform_code > 0:
        affine[:3] = np.array(struct.unpack_from("<12f", raw, 280)).reshape(3, 4)
        return affine
    if qform_code <= 0:
        return None
    qfac, *edges = struct.unpack_from("<4f", raw, 76)
    b, c, d, *origin = struct.unpack_from("<6f", raw, 256)
    rest = 1.0 - (b * b + c * c + d * d)
    if min(edges) <= 0 or qfac not in (-1, 1) or rest <= -ROUNDING:
        return None
    a = np.sqrt(rest) if rest >= ROUNDING else 0.0
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    length = a * a + b * b + c * c + d * d
    affine[:3, :3] = rotation / length * (edges[0], edges[1], edges[2] * qfac)
    affine[:3, 3] = origin
    return affine
