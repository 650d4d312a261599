"""DICOM files among others: what is none is told by its first bytes, and the headers of the rest are read."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.errors import ImageError
from nnunet_kits.images.frames import Frame, read_frames

PREAMBLE = 128
"""Bytes before the mark DICM."""

OLD_START = b"\x08\x00"
"""Group 0008: how a file without preamble begins."""


@dataclass(frozen=True)
class Files:
    """DICOM files and what lies beside them.

    Attributes:
        frames: of all files that could be read, by path.
        others: files that are no DICOM.
        damaged: DICOM file -> what is wrong with it.
    """

    frames: tuple[Frame, ...]
    others: tuple[Path, ...]
    damaged: dict[Path, str]


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do; a DICOMDIR does too."""
    start = _start(path)
    return _has_preamble(path) or (start[:2] == OLD_START and len(start) > PREAMBLE)


def _has_preamble(path: Path) -> bool:
    return _start(path)[PREAMBLE:] == b"DICM"


def _start(path: Path) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with open(path, "rb") as handle:
            return handle.read(PREAMBLE + 4)
    except OSError:
        return b""


def files_below(source: Path) -> Iterator[Path]:
    """All files in a folder and in the folders below it, by name; hidden ones are left out."""
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def read_files(paths: Iterable[Path]) -> Files:
    """Read the headers of DICOM files.

    Args:
        paths: files of any kind; a DICOMDIR, and whatever is no DICOM, is put aside.
    """
    frames: list[Frame] = []
    others: list[Path] = []
    damaged: dict[Path, str] = {}
    for path in paths:
        if path.name.upper() == "DICOMDIR" or not is_dicom(path):
            others.append(path)
            continue
        try:
            frames += read_frames(path)
        except ImageError as error:
            if _has_preamble(path):
                damaged[path] = str(error)
            else:  # begins so by chance
                others.append(path)
    return Files(tuple(frames), tuple(others), damaged)
