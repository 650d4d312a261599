"""Checkpoints read as data: tensors, plain containers, and numpy's numbers; nothing in the file is executed.

A checkpoint is a pickle, and a pickle may call any function. torch's ``weights_only`` reader calls only what it knows,
and refuses the rest by name. nnU-Net's checkpoints need numpy's numbers besides (its log of training has them), which
are made here, from their type and their bytes, under whichever names numpy 1 or 2 wrote them.
"""

import os
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnunet_kits.errors import CheckpointError

KINDS = "biufc"
"""numpy's kinds of numbers; all others hold objects or text."""

FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""torch's own variable: where it is 1, no ``torch.load`` unpickles anything but data."""

FORCE_NOT = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""Its opposite; torch refuses both at once."""

TRUST = "If you trust whoever made it, pass --trust."


class _Number:
    """A ``numpy.dtype`` as a pickle makes it: named first, its byte order told afterwards."""

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:
        found = np.dtype(name) if isinstance(name, str) and len(name) <= 3 else None
        if found is None or found.kind not in KINDS:
            raise pickle.UnpicklingError(f"numpy.dtype of {name!r}")
        self.dtype = found

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array(np.ndarray[Any, Any]):
    """A ``numpy.ndarray`` as a pickle makes it: empty first, its shape, numbers and bytes told afterwards."""

    def __new__(cls, *_: Any) -> "_Array":
        raise pickle.UnpicklingError("a numpy.ndarray that is not made of bytes")

    def __setstate__(self, state: Any) -> None:
        version, shape, number, is_fortran, content = state
        if not isinstance(number, _Number) or not isinstance(content, bytes):
            raise pickle.UnpicklingError("numpy.ndarray of objects")
        super().__setstate__((version, shape, number.dtype, is_fortran, content))


def _scalar(number: _Number, content: bytes) -> Any:
    """What ``numpy.core.multiarray.scalar`` makes."""
    return np.frombuffer(content, number.dtype, count=1)[0]


def _empty_array(kind: type, shape: tuple[int, ...], code: bytes) -> _Array:
    """What ``numpy.core.multiarray._reconstruct`` makes."""
    return np.empty(0, np.uint8).view(_Array)


ALLOWED: list[Any] = [
    (_Number, "numpy.dtype"),
    (_Array, "numpy.ndarray"),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_empty_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
"""What the file may ask for besides what torch allows: what it gets, and the name that it gives."""


def read_checkpoint(path: Path, trust: bool = False) -> dict[str, Any]:
    """What a checkpoint of nnU-Net holds.

    Args:
        path: the file.
        trust: where it needs more than data, unpickle it: whatever code is in it then runs.

    Returns:
        Its content, tensors on the CPU; at least ``network_weights``, ``trainer_name`` and ``init_args``.

    Raises:
        CheckpointError: it is damaged, is no checkpoint of nnU-Net, or needs more than data and is not trusted.
    """
    if not trust:
        refuse_code(path)
    try:
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a pickle may fail in any way
        raise CheckpointError(_why(path, error)) from error
    _check_content(path, content)
    return dict(content)


def refuse_code(path: Path, advice: str = TRUST) -> None:
    """Refuse a checkpoint that asks for more than data, or that would unpack to more than it is.

    Args:
        path: the file.
        advice: ends the message where it asks for more.

    Raises:
        CheckpointError: what it asks for.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise CheckpointError(_why(path, error)) from error
    if unpacked > path.stat().st_size:
        raise CheckpointError(
            f"{path}: would unpack to {unpacked / 1e9:.2f} GB, but torch packs nothing: torch did not write this file."
        )
    try:
        with torch.serialization.safe_globals(ALLOWED):
            asked = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except Exception as error:  # of a file that was made to break readers
        raise CheckpointError(_why(path, error)) from error
    if asked:
        raise CheckpointError(
            f"{path}: holds more than tensors, numbers and text: it asks for {', '.join(asked)}, and that would run "
            f"when the file is read. {advice}"
        )


@contextmanager
def data_only() -> Iterator[None]:
    """Within it every ``torch.load`` of this process reads data alone, nnU-Net's own too."""
    before = {name: os.environ.pop(name, None) for name in (FORCE, FORCE_NOT)}
    os.environ[FORCE] = "1"
    try:
        with torch.serialization.safe_globals(ALLOWED):
            yield
    finally:
        del os.environ[FORCE]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _why(path: Path, error: Exception) -> str:
    """One line for whatever reading a file has raised."""
    _, _, told = str(error).rpartition("WeightsUnpickler error:")  # torch's own advice stands before and after it
    said = (told.strip().splitlines() or [""])[0]
    return f"{path}: is damaged, or no checkpoint that torch wrote ({type(error).__name__}: {said[:200]})."


def _check_content(path: Path, content: Any) -> None:
    """Refuse what lacks a part that every checkpoint of nnU-Net has."""
    given = content if isinstance(content, Mapping) else {}
    weights, arguments = given.get("network_weights"), given.get("init_args")
    whole = (
        isinstance(given.get("trainer_name"), str)
        and isinstance(arguments, Mapping)
        and isinstance(arguments.get("configuration"), str)
        and isinstance(weights, Mapping)
        and all(isinstance(name, str) and isinstance(weight, Tensor) for name, weight in weights.items())
    )
    if not whole:
        raise CheckpointError(
            f"{path}: is no checkpoint of nnU-Net: it lacks network_weights, trainer_name or the configuration in "
            "init_args."
        )
