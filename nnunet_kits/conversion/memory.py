"""How much memory converting a case takes, and nnU-Net's own reading of one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases.memory import fitting_workers
from nnunet_kits.conversion.cases import Case
from nnunet_kits.errors import ImageError
from nnunet_kits.images import read_any_grid


@dataclass(frozen=True)
class Appetite:
    """Peak memory of one worker: so much for each voxel of its case, and so much beside them."""

    bytes_per_voxel: int
    bytes_beside: int

    def workers(self, voxels: Sequence[int]) -> int:
        """How many workers have room for the largest of some cases at once: at least 1, at most one a CPU and a case.

        Args:
            voxels: of each case.
        """
        largest = max(voxels, default=0) * self.bytes_per_voxel + self.bytes_beside
        return fitting_workers(len(voxels), largest, share=SHARE)


CONVERTING = Appetite(3, 200_000_000)
"""Measured by benchmarks/conversion.py: 2 bytes a voxel, the int16 image, and 0.06 GB; with some room."""
NNUNET_READING = Appetite(20, 800_000_000)
"""nnU-Net's own check of a case or its fingerprint: 17.2 bytes a voxel and 0.7 GB measured (case_00003)."""
SMALL_VOXELS = 20_000_000
"""Below this many voxels in all, starting workers costs more than it saves."""
SHARE = 0.8
"""Part of the free memory that is given to workers."""


def default_workers(cases: Sequence[Case]) -> int:
    """As many workers as there are free CPUs, as the largest case leaves memory for, and as there are cases."""
    voxels = [voxels_of(case.image) for case in cases]
    return CONVERTING.workers(voxels) if sum(voxels) >= SMALL_VOXELS else 1


def nnunet_reading_workers(voxels: Sequence[int]) -> int:
    """As :func:`default_workers`, for what nnU-Net reads itself.

    Args:
        voxels: of each case.
    """
    return NNUNET_READING.workers(voxels) if sum(voxels) >= SMALL_VOXELS else 1


def voxels_of(image: Path) -> int:
    """Voxels by the header; 0 for a file that cannot be read, which whoever reads it whole will report."""
    try:
        return math.prod(read_any_grid(image).shape)
    except ImageError:
        return 0
