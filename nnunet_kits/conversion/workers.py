"""Converting many cases at once: how many workers fit, and one clear error when one of them fails."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits import batch
from nnunet_kits.conversion.cases import Case
from nnunet_kits.errors import ConversionError, ImageError, KitsError
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
        ConversionError: the first bad case without ``skip_bad``.
        KitsError: a worker died.
    """
    from tqdm import tqdm

    done: list[Result] = []
    failed: dict[str, str] = {}
    tasks = {case.name: case for case in cases}
    with tqdm(total=len(cases), unit="case", desc="convert", disable=None if progress else True) as bar:
        for name, outcome in batch.run_cases(function, tasks, workers):
            if isinstance(outcome, ConversionError) and skip_bad:
                failed[name] = str(outcome)
            elif isinstance(outcome, KitsError):
                raise outcome
            else:
                done.append(outcome)
            bar.update()
    return done, failed


def _voxels(image: Path) -> int:
    """Voxels by the header; 0 for a file that cannot be read, which its conversion will report."""
    try:
        x, y, z = read_grid(image).shape
    except ImageError:
        return 0
    return x * y * z
