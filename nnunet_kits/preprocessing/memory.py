"""How much memory preprocessing a case needs, reckoned before it starts, and how many cases that lets run at once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunet_kits.cases.memory import fitting_workers
from nnunet_kits.errors import ImageError
from nnunet_kits.images import read_grid

BASE_BYTES = 1_200_000_000
"""An interpreter with torch and nnU-Net, and what is worked on at a time."""

SMALL_BYTES = 200_000_000
"""Cases that need less than this beside the base, all together, take less time than starting a worker does."""


def bytes_needed(image: Path, spacing_mm: list[float]) -> int:
    """Peak memory of preprocessing one case, reckoned from its header; the base alone for other formats than NIfTI.

    Args:
        image: one channel.
        spacing_mm: of the configuration; two edges for 2d, none where nothing is resampled.
    """
    try:
        grid = read_grid(image)
    except ImageError:
        return BASE_BYTES
    before = float(np.prod(grid.shape, dtype=float))
    after = before * float(np.prod(sorted(grid.spacing_mm)[: len(spacing_mm)])) / float(np.prod(spacing_mm))
    reading = before * (grid.dtype.itemsize + 5)  # the file's voxels, then float32 and labels beside them
    resampling = before * 5 + after * 4
    saving = after * 8
    return int(BASE_BYTES + max(reading, resampling, saving))


def default_workers(needs: Sequence[int]) -> int:
    """As many workers as there are free CPUs, as the largest case leaves memory for, and as there are cases.

    Args:
        needs: bytes of each case, by :func:`bytes_needed`; those of which only the base is known count as large.
    """
    beside = [need - BASE_BYTES for need in needs]
    return 1 if min(beside) > 0 and sum(beside) < SMALL_BYTES else fitting_workers(len(needs), max(needs))
