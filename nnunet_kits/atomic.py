"""Files that are written whole or not at all, however often a run is killed."""

import errno
import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of a full disk, of which the system does not say where it happened, name the file."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM and error.filename is None:
            error.filename = str(path)
        raise


NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
"""What the system says where a file can have no more bytes."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary sibling of ``path``; rename it to ``path`` when the block ends well, else delete it.

    What killed processes left of writing the same file is deleted first.

    Raises:
        OSError: the disk is full, or ``path`` is a device or a pipe, which a file must not replace: with ``path`` as
            its ``filename``.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "Is a device or a pipe, not a file", str(path))
    for left_over in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if not _is_running(left_over.name.split(".")[-2]):
            left_over.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with naming(path):
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


def link_folder(folder: Path, link: Path) -> None:
    """Make a folder of the same files: a link to it, or, where the system gives none to this user, a folder of copies.

    Windows gives links to those only who may make them; there hard links, which cost no space, are tried before copies.
    """
    try:
        os.symlink(folder, link, target_is_directory=True)
    except OSError:
        with atomic_folder(link) as temporary:
            shutil.copytree(folder, temporary, copy_function=_hard_link_or_copy, dirs_exist_ok=True)


def _hard_link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


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
