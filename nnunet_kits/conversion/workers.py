"""Converting many cases at once: how many workers fit, and one clear error when one of them fails."""

import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.conversion.cases import Case
from nnunet_kits.errors import ConversionError, ImageError
from nnunet_kits.images import read_grid
from nnunet_kits.machine import available_memory_bytes, cpu_count


@dataclass(frozen=True)
class Appetite:
    """Peak memory of one worker: so much for each voxel of its case, and so much beside them."""

    bytes_per_voxel: int
    bytes_beside: int


CONVERTING = Appetite(3, 200_000_000)
"""Measured by benchmarks/conversion.py: 2 bytes a voxel, the int16 image, and 0.06 GB; with some room."""
NNUNET_READING = Appetite(20, 800_000_000)
"""nnU-Net's own check of a case or its fingerprint: 17.2 bytes a voxel and 0.7 GB measured (case_00003)."""
SMALL_VOXELS = 20_000_000
"""Below this many voxels in all, starting workers costs more than it saves."""

Result = dict[str, Any]


def default_workers(cases: Sequence[Case]) -> int:
    """As many workers as there are free CPUs, as the largest case leaves memory for, and as there are cases."""
    voxels = [_voxels(case.image) for case in cases]
    return fitting_workers(voxels) if sum(voxels) >= SMALL_VOXELS else 1


def fitting_workers(voxels: Sequence[int], appetite: Appetite = CONVERTING) -> int:
    """How many workers have room for the largest of some cases at once: at least 1, at most one a CPU and a case."""
    memory = available_memory_bytes()
    need = max(voxels, default=0) * appetite.bytes_per_voxel + appetite.bytes_beside
    fitting = len(voxels) if memory is None else int(0.8 * memory / need)
    return max(1, min(cpu_count(), len(voxels), fitting))


def run_cases(
    function: Callable[[Case], Result], cases: Sequence[Case], workers: int, skip_bad: bool, progress: bool = True
) -> tuple[list[Result], dict[str, str]]:
    """Apply a function to every case, in this process or in ``workers`` spawned ones.

    Args:
        function: picklable; raises ConversionError for a bad case.
        cases: in order.
        workers: 1 runs in this process.
        skip_bad: go on after a bad case; else the first one stops the rest, once those under way are finished.
        progress: show a bar where stderr is a terminal.

    Returns:
        Results, and case -> why it failed.

    Raises:
        ConversionError: the first bad case without ``skip_bad``, or a worker that died.
    """
    from tqdm import tqdm

    done: list[Result] = []
    failed: dict[str, str] = {}
    with tqdm(total=len(cases), unit="case", desc="convert", disable=None if progress else True) as bar:

        def settle(case: Case, result: Callable[[], Result]) -> None:
            try:
                done.append(result())
            except ConversionError as error:
                if not skip_bad:
                    raise
                failed[case.name] = str(error)
            bar.update()

        if workers == 1 or len(cases) < 2:
            for case in cases:
                settle(case, functools.partial(function, case))
        else:
            _run_spawned(function, cases, min(workers, len(cases)), settle)
    return done, failed


def _run_spawned(
    function: Callable[[Case], Result],
    cases: Sequence[Case],
    workers: int,
    settle: Callable[[Case, Callable[[], Result]], None],
) -> None:
    """Keep every worker busy with one case and hand none out in advance, so that a dead worker's case is known."""
    waiting = list(reversed(cases))
    under_way: dict[Future[Result], Case] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < workers:
                    under_way[pool.submit(function, waiting[-1])] = waiting[-1]
                    waiting.pop()
                finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in sorted(finished, key=lambda f: under_way[f].name):
                    settle(under_way[future], future.result)
                    del under_way[future]
        except BrokenProcessPool as error:
            names = ", ".join(sorted(case.name for case in under_way.values()))
            raise ConversionError(
                f"A worker died while converting {names}, most likely killed for want of memory. "
                "Run the same command again with fewer workers, for example -np 1."
            ) from error


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _voxels(image: Path) -> int:
    """Voxels by the header; 0 for a file that cannot be read, which its conversion will report."""
    try:
        x, y, z = read_grid(image).shape
    except ImageError:
        return 0
    return x * y * z
