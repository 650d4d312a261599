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


def loading_processes(nnunets: int, on_gpu: bool, trainings: int = 1) -> int:
    """How many processes load and augment.

    Args:
        nnunets: what nnU-Net would take; it is taken where ``nnUNet_n_proc_DA`` is set.
        on_gpu: whether the network leaves the CPUs to them; else one process is plenty.
        trainings: how many share CPUs and memory: one a GPU of ``-num_gpus``.
    """
    if VARIABLE in os.environ:
        return nnunets
    memory = available_memory_bytes()
    fitting = ENOUGH if memory is None else int(memory // BYTES_PER_PROCESS) // trainings
    return max(1, min(nnunets, ENOUGH if on_gpu else 1, cpu_count() // trainings - 1, fitting))


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

    def told(self, processes: int, trainings: int = 1) -> str | None:
        """A line for the log, ``Loading: ...``; None before the second iteration.

        Args:
            processes: that load for this training; 0 where the training process does so itself.
            trainings: how many share the CPUs: one a GPU of ``-num_gpus``.
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
        one_of = f" (one of {trainings} GPUs)" if trainings > 1 else ""
        return (
            f"{START} {rates}{one_of}. {self._advice(processes, takes / gets, trainings) if waited > TO_SAY else GOOD}"
        )

    def _advice(self, processes: int, lacking: float, trainings: int) -> str:
        cpus = cpu_count()
        most = max(1, cpus // trainings - 1)
        wanted = max(1, int(processes * lacking + 0.999))
        if processes < most:
            return f"Set {VARIABLE} to {min(wanted, most)} (there are {cpus} CPUs)."
        return (
            f"All {cpus} CPUs load already: give the training more of them, or keep the preprocessed data on a local "
            "disk."
        )
