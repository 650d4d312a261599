"""Work on many cases: in this process or in several, each case with its result or with what is wrong with it."""

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nnunet_kits.errors import KitsError


def run_cases(
    function: Callable[[Any], Any], tasks: Mapping[str, Any], workers: int
) -> Iterator[tuple[str, Any | KitsError]]:
    """Run a function for every case; one that fails does not stop the others.

    Args:
        function: picklable.
        tasks: case -> the function's argument, picklable.
        workers: 1 runs in this process, more in as many spawned ones.

    Yields:
        Each case when it is done, with what the function returned, or with the KitsError that it raised.

    Raises:
        KitsError: a worker died.
    """
    if workers <= 1 or len(tasks) < 2:
        for case, task in tasks.items():
            yield case, _attempt(function, task)
        return
    yield from _in_processes(function, tasks, workers)


def _in_processes(
    function: Callable[[Any], Any], tasks: Mapping[str, Any], workers: int
) -> Iterator[tuple[str, Any | KitsError]]:
    """:func:`run_cases` in several processes."""
    import multiprocessing  # on use: importing it takes longer than scoring a small case
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    waiting = list(tasks.items())[::-1]
    under_way: dict[Future[Any], str] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_follow_parent) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < workers:  # none is handed out ahead, so a dead worker's is known
                    case, task = waiting.pop()
                    under_way[pool.submit(_attempt, function, task)] = case
                finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in sorted(finished, key=lambda done: under_way[done]):
                    result = future.result()
                    yield under_way.pop(future), result
        except BrokenProcessPool as error:
            raise KitsError(
                f"A worker died on {', '.join(sorted(under_way.values()))}, most likely killed for want of memory. "
                "Run the same command again with -np 1: what is done is kept."
            ) from error


class Journal:
    """Results of a run that may be stopped, one a line: what is in it need not be done again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
            try:
                key, result = json.loads(line)
            except ValueError:  # the last line of a run that was killed
                continue
            self.results[key] = result

    def add(self, key: str, result: Any) -> None:
        """Note a result, which JSON must be able to hold."""
        self.results[key] = result
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" * self._is_cut() + json.dumps([key, result]) + "\n")

    def close(self) -> None:
        """Forget the journal, once its results are in their own file."""
        self.path.unlink(missing_ok=True)

    def _is_cut(self) -> bool:
        """Whether the file ends in the middle of a line."""
        if not self.path.is_file() or not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"


def file_key(*files: Path) -> list[Any]:
    """Path, size and time of files: changes when one of them does."""
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _attempt(function: Callable[[Any], Any], task: Any) -> Any:
    try:
        return function(task)
    except KitsError as error:
        return error


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end with it even when it is killed."""
    import multiprocessing
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow() -> None:
            parent.join()
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
