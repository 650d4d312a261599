"""How many cases fit into memory at once, and running them so that the first error is shown and nothing hangs."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.batch import run_cases
from nnunet_kits.errors import ImageError, KitsError, PreprocessingError
from nnunet_kits.images import read_grid
from nnunet_kits.machine import available_memory_bytes, cpu_count

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


def fitting_workers(needs: Mapping[str, int], wanted: int | None) -> int:
    """How many cases to preprocess at once: what was asked for, or one a CPU, as memory for the largest case allows.

    Args:
        needs: case -> bytes.
        wanted: None for as many as fit.

    Raises:
        PreprocessingError: not even one of the largest case fits.
    """
    largest = max(needs, key=needs.__getitem__)
    free = available_memory_bytes()
    if free is not None and needs[largest] > free:
        raise PreprocessingError(
            f"{largest}: preprocessing it needs about {needs[largest] / 1e9:.1f} GB of memory, of which "
            f"{free / 1e9:.1f} GB are free. Close other programs, or leave the case out of the dataset."
        )
    if wanted is not None:
        return max(1, min(wanted, len(needs)))
    fitting = len(needs) if free is None else int(0.9 * free / needs[largest])
    return max(1, min(cpu_count(), len(needs), fitting))


def run_tasks(function: Callable[[Any], None], tasks: Mapping[str, Any], workers: int) -> Iterator[str]:
    """Run a function for every case, in this process or in ``workers`` spawned ones.

    Args:
        function: picklable.
        tasks: case -> the function's argument, picklable.
        workers: 1 runs in this process.

    Yields:
        Each case when it is done.

    Raises:
        KitsError: the first case that failed, once those under way are finished; or a worker died.
    """
    for case, outcome in run_cases(function, tasks, workers):
        if isinstance(outcome, KitsError):
            raise outcome
        yield case
