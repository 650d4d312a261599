"""What is kept of a run, so that one that was stopped goes on: stamps of files, records beside results, journals."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import naming, write_text
from nnunet_kits.errors import KitsError

Stamp = list[int]
"""Size in bytes and time of modification in ns of a file; -1 and -1 of one that is not there."""


def stamp(file: Path) -> Stamp:
    """Size and time of a file."""
    try:
        status = file.stat()
    except OSError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


def file_key(*files: Path) -> list[Any]:
    """Path, size and time of files: changes when one of them does."""
    return [[os.path.realpath(file), *stamp(file)] for file in files]


def read_record(path: Path) -> dict[str, Any] | None:
    """The JSON object that an earlier run wrote; None where there is none, or where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


UNDER_WAY = "under_way"
"""Key of a record: cases that a run has begun; not there when it has ended."""


class Record:
    """A JSON file beside the results: how they were made, and of each case what is to be known when a run goes on.

    It is written anew, whole or not at all, whenever a case is added.

    Attributes:
        path: the file.
        content: what it holds: the facts about the run, and ``cases``.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], indent: int | None = 2) -> None:
        self.path, self.indent = path, indent
        self.content: dict[str, Any] = {**facts, "cases": {}}

    @property
    def cases(self) -> dict[str, Any]:
        """Case -> what is kept of it."""
        found: dict[str, Any] = self.content["cases"]
        return found

    def add(self, case: str, kept: Any) -> None:
        """Note a case that is done."""
        self.cases[case] = kept
        self.save()

    @property
    def begun(self) -> list[str]:
        """Cases that a run set out to make and was stopped at: of their results it is not known whether they count."""
        return [case for case in self.content.get(UNDER_WAY, ()) if case not in self.cases]

    def begin(self, cases: Iterable[str]) -> None:
        """Note what is about to be made, for a run that is stopped between a result and its note."""
        self.content[UNDER_WAY] = sorted({*self.begun, *cases})
        self.save()

    def end(self, cases: Iterable[str]) -> None:
        """Forget what was begun, once the run is over."""
        left = sorted({*self.begun} - {*cases})
        self.content.pop(UNDER_WAY, None)
        self.content.update({UNDER_WAY: left} if left else {})
        self.save()

    def save(self) -> None:
        """Write the file."""
        write_text(self.path, json.dumps(self.content, indent=self.indent))


def open_record(
    path: Path,
    facts: Mapping[str, Any],
    differs: Callable[[Mapping[str, Any]], str | None],
    error: type[KitsError],
    overwrite: bool = False,
) -> Record:
    """Go on with the record of an earlier run, or begin a new one; it is written at once.

    Args:
        path: of the record, beside the results.
        facts: about this run.
        differs: given an earlier record, what the folder holds that this run must not be mixed with, for example
            ``predictions made with other settings (step)``; None where the run may go on.
        error: to be raised.
        overwrite: begin anew, whatever is there.

    Raises:
        KitsError: of the type ``error``: results of another kind, or a record that cannot be read.
    """
    record = Record(path, facts)
    if path.is_file() and not overwrite:
        before = read_record(path)
        if before is not None and not isinstance(before.get("cases", {}), dict):
            before = None
        holds = "a record that cannot be read, so what the rest was made with is not known" if before is None else None
        holds = holds or differs(before or {})
        if holds:
            raise error(f"{path}: the folder holds {holds}. Give another folder, or --overwrite.")
        record.cases.update((before or {}).get("cases", {}))
        begun = (before or {}).get(UNDER_WAY)
        if isinstance(begun, list) and begun:
            record.content[UNDER_WAY] = [case for case in begun if isinstance(case, str)]
    record.save()
    return record


class Journal:
    """Results of a run that may be stopped, one a line: what is in it need not be done again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, Any] = {}
        for line in path.read_bytes().splitlines() if path.is_file() else []:
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):  # the last line of a run that was killed
                continue
            if isinstance(found, list) and len(found) == 2 and isinstance(found[0], str):
                self.results[found[0]] = found[1]

    def add(self, key: str, result: Any) -> None:
        """Note a result, which JSON must be able to hold."""
        self.results[key] = result
        with naming(self.path), self.path.open("a", encoding="utf-8") as file:
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
