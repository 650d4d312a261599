"""How much memory preprocessing a case needs, reckoned before it starts."""

from pathlib import Path

import numpy as np

from nnunet_kits.errors import ImageError
from nnunet_kits.images import read_grid

BASE_BYTES = 1_200_000_000
"""An interpreter with torch and nnU-Net, and what is worked on at a time."""


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
