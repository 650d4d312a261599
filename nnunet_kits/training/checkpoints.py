"""Checkpoints that survive a kill: written atomically, verified by checksum, the last two kept."""

import os
import shutil
import zipfile
from pathlib import Path

from nnunet_kits.atomic import atomic_path
from nnunet_kits.model_folder import BEST, FINAL, LATEST

PREVIOUS = "checkpoint_previous.pth"
"""The latest but one: ours, beside nnU-Net's own."""

UNFINISHED = ".part"
"""Suffix of a checkpoint while it is written."""


def is_readable(path: Path) -> bool:
    """Whether a checkpoint is complete: it opens as the zip archive that torch writes and all its checksums hold."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError):
        return False


def newest_readable(folder: Path, besides: Path) -> Path | None:
    """The most recently written readable checkpoint in ``folder`` that is not ``besides``, or None."""
    others = [folder / name for name in (FINAL, LATEST, PREVIOUS, BEST) if folder / name != besides]
    present = sorted((p for p in others if p.is_file()), key=lambda p: p.stat().st_mtime_ns, reverse=True)
    return next((p for p in present if is_readable(p)), None)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed training had begun to write."""
    for path in folder.glob(f"checkpoint_*{UNFINISHED}"):
        path.unlink()


def keep_previous(path: Path) -> None:
    """Before ``checkpoint_latest.pth`` is replaced: keep it as ``checkpoint_previous.pth``, at no moment without it."""
    if path.name != LATEST or not path.is_file():
        return
    link_or_copy(path, path.with_name(PREVIOUS))


def link_or_copy(path: Path, other: Path) -> None:
    """Let ``other`` hold what ``path`` holds now, without space of its own where the file system has hard links."""
    other.unlink(missing_ok=True)
    try:
        os.link(path, other)
    except OSError:  # a file system without hard links
        with atomic_path(other) as temporary:
            shutil.copyfile(path, temporary)
