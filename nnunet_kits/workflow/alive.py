"""One run at a time in a root, and steps on this machine that end when their run is gone, however it died."""

import ctypes
import json
import os
import platform
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nnunet_kits.errors import WorkflowError
from nnunet_kits.workflow import locks
from nnunet_kits.workflow.folder import RUNNING, RunFolder

LOCK, TOKEN = "NNUNET_KITS_RUN_LOCK", "NNUNET_KITS_RUN_TOKEN"
"""Variables by which a step on this machine knows its run. A cluster's jobs have neither: they outlive it."""

PR_SET_PDEATHSIG = 1
PATIENCE_S = 30
"""How long a new run waits for the steps of one that was killed: they notice within a second, then stop workers."""


@contextmanager
def only_run(root: Path, recipe: str) -> Iterator[dict[str, str]]:
    """Be the only run that works in a root.

    Args:
        root: folder of nnU-Net's three folders.
        recipe: said to those who come later.

    Yields:
        The variables by which steps on this machine know this run.

    Raises:
        WorkflowError: another run works there.
    """
    file, token = root / "runs" / ".lock", uuid.uuid4().hex
    facts = {"recipe": recipe, "pid": os.getpid(), "host": socket.gethostname(), "token": token}
    lock = locks.take(file, json.dumps({**facts, "since": time.strftime("%Y-%m-%d %H:%M:%S")}), patience_s=2)
    if lock is None:
        raise WorkflowError(f"{root}: {_holder(file)} works there. Wait for it, end it, or give another --root.")
    with lock:
        yield {LOCK: str(file), TOKEN: token}


def _holder(file: Path) -> str:
    try:
        facts = json.loads(locks.note_of(file))
        return f"another run ({facts['recipe']}, process {facts['pid']} on {facts['host']}, since {facts['since']})"
    except (ValueError, KeyError):
        return "another run"


def die_with_parent() -> None:
    """Between fork and exec, on Linux: be killed when the parent is, whatever kills it."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run_is_gone() -> bool:
    """Whether the run that started this step on this machine has ended; never so for a cluster's jobs."""
    file, token = os.environ.get(LOCK), os.environ.get(TOKEN)
    if not file or not token:
        return False
    return locks.is_held(Path(file)) is False or token not in locks.note_of(Path(file))


def wait_for_orphans(root: Path, patience_s: float = PATIENCE_S) -> None:
    """Wait until the steps of runs that were killed have ended, of any recipe of the root: they share datasets.

    Raises:
        WorkflowError: one of them goes on.
    """
    end = time.monotonic() + patience_s
    while still := [file for file in sorted(root.glob("runs/*/locks/*")) if locks.is_held(file)]:
        if time.monotonic() > end:
            facts = RunFolder(still[0].parents[1]).marked(RUNNING, still[0].name)
            who = f"process {facts.get('pid')} on {facts.get('host')}" if facts else "see the list of processes"
            raise WorkflowError(
                f"{still[0].parents[1]}: {still[0].name} of an earlier run is still running "
                f"({who}). Wait for it, or end it."
            )
        time.sleep(0.2)
