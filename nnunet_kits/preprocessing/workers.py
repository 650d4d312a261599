"""How many cases fit into memory at once, and running them so that the first error is shown and nothing hangs."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.errors import ImageError, PreprocessingError
from nnunet_kits.images import read_grid
from nnunet_kits.machine import available_memory_bytes, cpu_count

BASE_BYTES = 1_200_000_000
"""An interpreter with torch and nnU-Net, and what is worked on at a time."""


def bytes_needed(image: Path, spacing_mm: list[float]) -> int:
    """Peak memory of preprocessing one case, reckoned from its header; the base alone for other formats than NIfTI.

    Args:
        image: one channel.
        spacing_mm: of the configuration; two edges for 2d.
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
        PreprocessingError: the first case that failed, once those under way are finished; or a worker died.
    """
    if workers == 1:
        for case, task in tasks.items():
            function(task)
            yield case
        return
    waiting = list(tasks.items())[::-1]
    under_way: dict[Future[None], str] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < workers:  # none is handed out ahead, so a dead worker's is known
                    case, task = waiting.pop()
                    under_way[pool.submit(function, task)] = case
                finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in sorted(finished, key=lambda done: under_way[done]):
                    future.result()
                    yield under_way.pop(future)
        except BrokenProcessPool as error:
            raise PreprocessingError(
                f"A worker died while preprocessing {', '.join(sorted(under_way.values()))}, most likely killed for "
                "want of memory. Run the same command again with fewer workers, for example -np 1."
            ) from error


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
