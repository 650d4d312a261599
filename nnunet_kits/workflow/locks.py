"""Locks that the system drops when their holder dies, however it dies: none is ever left over."""

import errno
import os
import time
from pathlib import Path
from typing import IO

from nnunet_kits.errors import WorkflowError

HELD = (errno.EAGAIN, errno.EACCES)


def take(file: Path, note: str = "", patience_s: float = 0) -> IO[str] | None:
    """Lock a file until it is closed, or until this process and those that inherited it are gone.

    Args:
        file: made if need be, and never removed.
        note: is written into the file, for those who find it locked.
        patience_s: how long to try; whoever asks :func:`is_held` holds the lock for a moment himself.

    Returns:
        The open file; None where somebody else holds it. On a file system without locks everybody gets it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    opened = file.open("a+", encoding="utf-8")
    end = time.monotonic() + patience_s
    while _lock(opened, exclusive=True) is False:
        if time.monotonic() >= end:
            opened.close()
            return None
        time.sleep(0.1)
    opened.truncate(0)
    opened.write(note)
    opened.flush()
    return opened


def is_held(file: Path) -> bool | None:
    """Whether somebody holds a lock; None where the file system has no locks."""
    if not file.is_file():
        return False
    with file.open("r", encoding="utf-8") as opened:
        free = _lock(opened, exclusive=False)
    return None if free is None else not free


def note_of(file: Path) -> str:
    """What the one who took a lock last wrote into it; empty without."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def _lock(opened: IO[str], exclusive: bool) -> bool | None:
    """Try to lock; None where that cannot be done here."""
    if os.name == "nt":
        raise WorkflowError("running a recipe needs Linux or macOS; --dry-run prints its commands anywhere.")
    import fcntl

    try:
        fcntl.flock(opened, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in HELD else None
    return True
