"""Processes that load: what went wrong in one ends the training with its own words."""

import contextlib
import queue
import signal
import time
from multiprocessing import SimpleQueue
from typing import Any

from batchgenerators.dataloading.nondet_multi_threaded_augmenter import NonDetMultiThreadedAugmenter

from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.errors import TrainingError

QUIET_S, PATIENCE_S = 0.2, 5.0
"""So long nothing may come before the processes are ended, and so long that is waited for."""


class Workers(NonDetMultiThreadedAugmenter):  # type: ignore[misc]  # batchgenerators is untyped
    """Batches of a loader, made by several processes.

    Args:
        loader: of which each process has a copy.
        processes: how many.
        batches_ahead: how many may wait to be taken.
        pinned: whether their memory is pinned, for a GPU.
    """

    def __init__(self, loader: BoxLoader, processes: int, batches_ahead: int, pinned: bool) -> None:
        super().__init__(loader, None, processes, batches_ahead, pin_memory=pinned, wait_time=0.002)
        loader.number_of_threads_in_multithreaded = processes
        self.failures: SimpleQueue[str] = SimpleQueue()
        loader.failures = self.failures

    def __next__(self) -> Any:
        """The next batch.

        Raises:
            TrainingError: what the first process to fail said, or that one was killed.
        """
        try:
            return super().__next__()
        except RuntimeError as error:
            if not self.failures.empty():
                raise TrainingError(self.failures.get()) from None
            raise error

    def _finish(self, *given: Any, **options: Any) -> None:
        """End the processes; if one was killed before, keep which signal it was."""
        codes = [process.exitcode for process in self._processes]
        if not options.get("force"):
            self._take_the_last()
        super()._finish(*given, **options)
        for code in codes:
            if code is not None and code < 0:
                self.failures.put(
                    f"a loading process was ended by {signal.Signals(-code).name}, as happens where memory runs out. "
                    "Free memory, or set nnUNet_n_proc_DA to fewer processes."
                )

    def _take_the_last(self) -> None:
        """Pause, and take the batches on their way: they cannot be fetched from a process that has ended."""
        if self.pause_event is None or self.abort_event.is_set():
            return
        self.pause_event.set()
        begun = last = time.monotonic()
        while (now := time.monotonic()) - last < QUIET_S and now - begun < PATIENCE_S:
            if not self._queue.empty() or not self.results_loop_queue.empty():
                last = now
            with contextlib.suppress(queue.Empty):
                self.results_loop_queue.get(timeout=self.wait_time)
