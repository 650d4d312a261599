"""Files that are written whole or not at all, however often a run is killed."""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``path``; rename it to ``path`` when the block ends well, else delete it.

    What killed processes left of writing the same file is deleted first.
    """
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not _is_running(left_over.name.split(".")[-2]):
            left_over.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a temporary sibling folder of ``path``; rename it to ``path`` when the block ends well, else delete it.

    What killed processes left of making the same folder is deleted first. ``path`` must not be there.
    """
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not _is_running(left_over.name.split(".")[-2]):
            shutil.rmtree(left_over, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.mkdir()
    try:
        yield temporary
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _is_running(pid: str) -> bool:
    """Whether a process of this machine is alive; True where that cannot be asked without harm."""
    if os.name == "nt" or not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process
        return True
    return True
