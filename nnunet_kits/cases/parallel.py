"""Work on many cases: in this process or in several, each case with its result or with what is wrong with it."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from nnunet_kits.errors import KitsError

T = TypeVar("T")

PACKAGE = "nnunet_kits"
logger = logging.getLogger(__name__)


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
            yield case, _attempt(function, case, task)
        return
    yield from _in_processes(function, tasks, workers)


def run_all(function: Callable[[Any], Any], tasks: Mapping[str, Any], workers: int) -> Iterator[tuple[str, Any]]:
    """:func:`run_cases`, ended by the first case that fails, once those under way are finished.

    Yields:
        Each case when it is done, with what the function returned.

    Raises:
        KitsError: of the first case that failed; or a worker died.
    """
    for case, outcome in run_cases(function, tasks, workers):
        if isinstance(outcome, KitsError):
            raise outcome
        yield case, outcome


def run_or_skip(
    function: Callable[[Any], Any],
    tasks: Mapping[str, Any],
    workers: int,
    title: str,
    tolerated: type[KitsError] | None = None,
) -> tuple[list[Any], dict[str, str]]:
    """:func:`run_cases` with progress, where bad cases may be left out.

    Args:
        function: picklable.
        tasks: case -> the function's argument.
        workers: 1 runs in this process.
        title: what is done.
        tolerated: errors that leave a case out; any other stops the rest, once those under way are finished.

    Returns:
        Results, and case -> why it was left out.

    Raises:
        KitsError: the first that is not tolerated; or a worker died.
    """
    done: list[Any] = []
    failed: dict[str, str] = {}
    for case, outcome in with_progress(run_cases(function, tasks, workers), len(tasks), title):
        if tolerated is not None and isinstance(outcome, tolerated):
            failed[case] = str(outcome)
        elif isinstance(outcome, KitsError):
            raise outcome
        else:
            done.append(outcome)
    return done, failed


def with_progress(
    outcomes: Iterable[tuple[str, T]], total: int, title: str, before: int = 0, lines: bool = True
) -> Iterator[tuple[str, T]]:
    """Show how far a run has come: by a bar where stderr is a terminal, else by a line a case.

    Args:
        outcomes: each case with its own, as they come.
        total: how many cases there are.
        title: what is done.
        before: how many of them were done before.
        lines: False for a run that says itself what became of a case.
    """
    if not sys.stderr.isatty():
        for number, (case, outcome) in enumerate(outcomes, before + 1):
            yield case, outcome
            if lines:
                logger.info("%d of %d: %s", number, total, case, extra={"progress": True})
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=before, unit="case", desc=title) as bar:
        for case, outcome in outcomes:
            yield case, outcome
            bar.update()


def _in_processes(
    function: Callable[[Any], Any], tasks: Mapping[str, Any], workers: int
) -> Iterator[tuple[str, Any | KitsError]]:
    """:func:`run_cases` in several processes."""
    import multiprocessing  # on use: importing it takes longer than scoring a small case
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    level = logging.getLogger(PACKAGE).getEffectiveLevel()
    waiting = list(tasks.items())[::-1]
    under_way: dict[Future[Any], str] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_follow_parent) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < workers:  # none is handed out ahead, so a dead worker's is known
                    case, task = waiting.pop()
                    under_way[pool.submit(_attempt_in_worker, level, function, case, task)] = case
                finished, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in sorted(finished, key=lambda done: under_way[done]):
                    result, records = future.result()
                    for record in records:
                        logging.getLogger(record.name).handle(record)
                    yield under_way.pop(future), result
        except BrokenProcessPool as error:
            raise KitsError(
                f"A worker died on {', '.join(sorted(under_way.values()))}, most likely killed for want of memory. "
                "Run the same command again with -np 1: what is done is kept."
            ) from error


def _attempt(function: Callable[[Any], Any], case: str, task: Any) -> Any:
    """What the function returns, or the KitsError that it raises."""
    start = time.perf_counter()
    try:
        return function(task)
    except KitsError as error:
        return error
    finally:
        logger.debug("%s took %.2f s in process %d", case, time.perf_counter() - start, os.getpid())


def _attempt_in_worker(
    level: int, function: Callable[[Any], Any], case: str, task: Any
) -> tuple[Any, list[logging.LogRecord]]:
    """:func:`_attempt`, and what was logged meanwhile: the parent says it, as it knows where to."""
    package, kept = logging.getLogger(PACKAGE), _Kept()
    package.setLevel(level)
    package.propagate = False
    package.addHandler(kept)
    try:
        return _attempt(function, case, task), kept.records
    finally:
        package.removeHandler(kept)


class _Kept(logging.Handler):
    """Keeps what is logged, in a form that goes from process to process."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self.records.append(record)


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
