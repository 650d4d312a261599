"""``--json``: the result of a verb as one JSON document on standard output, everything else on standard error."""

import argparse
import codecs
import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from nnunet_kits.atomic import naming


class Result(NamedTuple):
    """What a verb found.

    Attributes:
        data: what ``--json`` prints: dictionaries, lists, text, numbers, paths and dataclasses.
        code: exit code.
    """

    data: Any
    code: int = 0


def add_option(verb: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    verb.add_argument("--json", action="store_true", help="print the result as JSON, and all else on standard error")


def print_anything() -> None:
    """Let standard output and standard error take what their encoding has no sign for.

    The bytes of a file's name that are no text are written as they are, other letters by their numbers.
    """
    codecs.register_error(ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


ESCAPED = "nnunet_kits"


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Print, all of it, and let a full device under standard output be named as that."""
    with naming(Path("standard output")):
        yield
        sys.stdout.flush()


def let_go() -> None:
    """Throw away what standard output did not take, so that Python can end."""
    with _read_or_not(sys.stdout):
        sys.stdout.flush()


def complain(line: str) -> None:
    """Print a line on standard error, where somebody reads it."""
    with _read_or_not(sys.stderr):
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _read_or_not(stream: TextIO) -> Iterator[None]:
    """Let a stream that takes nothing any more take everything, and keep nothing of it."""
    try:
        yield
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def kept_for_json() -> Iterator[None]:
    """What is printed meanwhile goes to standard error; what child processes print, too."""
    sys.stdout.flush()
    with open(os.dup(1), "wb") as real:
        os.dup2(2, 1)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        finally:
            os.dup2(real.fileno(), 1)


def as_json(data: Any) -> str:
    """A result as JSON text; a number that is none, or infinite, is null."""
    return json.dumps(_plain(data), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    return value
