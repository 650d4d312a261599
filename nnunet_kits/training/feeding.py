"""Whether the network waits for its batches: how many processes load them, what both sides manage, what to change."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nnunet_kits.machine import available_memory_bytes, cpu_count

VARIABLE = "nnUNet_n_proc_DA"
"""nnU-Net's environment variable: how many processes load and augment."""

ENOUGH = 6
"""Processes that feed a fast GPU: two gave 24 samples of 128^3 a second where a compiled ResUNet takes 38
(``benchmarks/gpu.py``, H200); regions and cascades cost up to twice as much."""

BYTES_PER_PROCESS = 2.5e9
"""Of a training process and its half of a validation process: 1.3 GB and 0.7 GB at 128^3, and some more."""

TO_SAY = 0.1
"""Share of the time that a network may wait without our advising anything."""

START, GOOD = "Loading:", "That is good."
"""How the line for the log begins, and how it ends where there is nothing to advise."""


def is_said_after(epochs: int) -> bool:
    """Whether a run that has done so many epochs since it started says how loading does: 1, 2, 51, 101, ..."""
    return epochs == 2 or epochs % 50 == 1


def loading_processes(nnunets: int, on_gpu: bool) -> int:
    """How many processes load and augment.

    Args:
        nnunets: what nnU-Net would take; it is taken where ``nnUNet_n_proc_DA`` is set.
        on_gpu: whether the network leaves the CPUs to them; else one process is plenty.
    """
    if VARIABLE in os.environ:
        return nnunets
    memory = available_memory_bytes()
    fitting = ENOUGH if memory is None else int(memory // BYTES_PER_PROCESS)
    return max(1, min(nnunets, ENOUGH if on_gpu else 1, cpu_count() - 1, fitting))


class Feed:
    """Seconds that the network worked and that it waited for batches, in one epoch.

    The first iteration is left out: in it processes start and the network is compiled.
    """

    def __init__(self) -> None:
        self.samples, self.worked_s, self.waited_s = 0, 0.0, 0.0
        self.last: float | None = None

    @contextmanager
    def iteration(self, samples: int) -> Iterator[None]:
        """Around what the network does with one batch of so many samples."""
        start = time.perf_counter()
        yield
        end = time.perf_counter()
        if self.last is not None:
            self.samples += samples
            self.waited_s += start - self.last
            self.worked_s += end - start
        self.last = end

    def told(self, processes: int) -> str | None:
        """A line for the log, ``Loading: ...``; None before the second iteration.

        Args:
            processes: that load; 0 where the training process does so itself.
        """
        if not self.samples:
            return None
        seconds = self.worked_s + self.waited_s
        takes, gets, waited = self.samples / self.worked_s, self.samples / seconds, self.waited_s / seconds
        who = f"{processes} process{'es' if processes != 1 else ''}" if processes else "the training process itself"
        rates = (
            f"the network takes {takes:.3g} samples a second, got {gets:.3g} from {who} and waited {waited:.0%} of the "
            "time"
        )
        return f"{START} {rates}. {self._advice(processes, takes / gets) if waited > TO_SAY else GOOD}"

    def _advice(self, processes: int, lacking: float) -> str:
        cpus = cpu_count()
        wanted = max(1, int(processes * lacking + 0.999))
        if processes < cpus - 1:
            return f"Set {VARIABLE} to {min(wanted, cpus - 1)} (there are {cpus} CPUs)."
        return (
            f"All {cpus} CPUs load already: give the training more of them, or keep the preprocessed data on a local "
            "disk."
        )
