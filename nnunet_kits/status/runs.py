"""How far the recipes of a root are: their steps, as ``nnunet_kits run`` notes them in ``ROOT/runs/<recipe>``."""

import itertools
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.cases.records import read_record
from nnunet_kits.status.folds import FAILED, FINISHED, RUNNING, STOPPED, WAITING
from nnunet_kits.status.last_error import last_error

STEPS_FILE = "steps.json"


@dataclass(frozen=True)
class StepState:
    """One step of a recipe.

    Attributes:
        name: of the step.
        verb: what it does.
        command: as a user may type it.
        state: ``finished``, ``running``, ``stopped``, ``failed`` or ``waiting``.
        waits_for: steps that come before it and are not finished; none where it waits for its turn.
        process: what runs it, in words; empty where nothing does.
        is_seen: whether that process is on this machine, so that it is known to be there.
        since: when it began to run or failed, in seconds since 1970; 0 where it did neither.
        seconds: what it took; None where it is not finished.
        log: of its last attempt; None where there is none.
        error: the last line of its log that tells an error.
    """

    name: str
    verb: str
    command: tuple[str, ...]
    state: str
    waits_for: tuple[str, ...] = ()
    process: str = ""
    is_seen: bool = False
    since: float = 0.0
    seconds: float | None = None
    log: Path | None = None
    error: str = ""


@dataclass(frozen=True)
class Run:
    """One recipe below a root.

    Attributes:
        recipe: name.
        folder: ``ROOT/runs/<recipe>``.
        steps: in their order.
        remarks: what is to be known of its files.
    """

    recipe: str
    folder: Path
    steps: list[StepState]
    remarks: tuple[str, ...] = ()


def find_runs(root: Path) -> list[Path]:
    """The folders of recipes of a root, or the one that is named itself."""
    places = (root / STEPS_FILE, *root.glob(f"*/{STEPS_FILE}"), *root.glob(f"runs/*/{STEPS_FILE}"))
    return sorted(file.parent for file in places if file.is_file())


def read_run(folder: Path) -> Run:
    """The steps of one recipe; a damaged ``steps.json`` is a remark."""
    content = read_record(folder / STEPS_FILE)
    given = content.get("steps") if content else None
    if not isinstance(given, list):
        return Run(folder.name, folder, [], (f"{STEPS_FILE} is damaged; nnunet_kits run writes it anew",))
    steps = [step for step in given if isinstance(step, dict) and isinstance(step.get("name"), str)]
    finished = {step["name"] for step in steps if _mark(folder, "done", step["name"]) is not None}
    return Run(folder.name, folder, [_state(folder, step, finished) for step in steps])


def _state(folder: Path, step: Mapping[str, Any], finished: set[str]) -> StepState:
    """One step, by the marks that it has left."""
    name = step["name"]
    log = folder / "logs" / f"{name}.log"
    common = {
        "name": name,
        "verb": str(step.get("verb", "")),
        "command": _words(step.get("command")),
        "log": log if log.is_file() else None,
    }
    running, failed = _mark(folder, "running", name), _mark(folder, "failed", name)
    if name in finished:
        seconds = (_mark(folder, "done", name) or {}).get("seconds")
        return StepState(**common, state=FINISHED, seconds=seconds if isinstance(seconds, int | float) else None)
    if running is not None and _is_alive(running):
        process = f"process {running.get('pid')} on {running.get('host')}"
        since = _changed(folder, "running", name)
        return StepState(**common, state=RUNNING, process=process, is_seen=_is_here(running), since=since)
    if failed is not None:
        error = str(failed.get("error") or _error(log))
        return StepState(**common, state=FAILED, error=error, since=_changed(folder, "failed", name))
    if running is not None:
        return StepState(**common, state=STOPPED, error=_error(log))
    waits_for = tuple(before for before in _words(step.get("after")) if before not in finished)
    return StepState(**common, state=WAITING, waits_for=waits_for)


def _mark(folder: Path, kind: str, name: str) -> dict[str, Any] | None:
    """What a step's mark of a kind holds: nothing where it is damaged, None where it is not set."""
    file = folder / kind / f"{name}.json"
    return (read_record(file) or {}) if file.is_file() else None


def _changed(folder: Path, kind: str, name: str) -> float:
    try:
        return (folder / kind / f"{name}.json").stat().st_mtime
    except OSError:
        return 0.0


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in value) if isinstance(value, list) else ()


def _is_alive(mark: Mapping[str, Any]) -> bool:
    """Whether the process that runs a step is there; taken for granted where it is on another machine."""
    if not _is_here(mark):
        return True
    try:
        os.kill(mark["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _is_here(mark: Mapping[str, Any]) -> bool:
    """Whether a step's process can be asked for: it is, or was, on this machine."""
    return mark.get("host") == socket.gethostname() and isinstance(mark.get("pid"), int) and os.name != "nt"


def _error(log: Path) -> str:
    try:
        return last_error(log.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return ""


def trained_fold(command: Sequence[str]) -> tuple[str, str, str, str, str] | None:
    """Dataset (number or name), trainer, plans, configuration and fold of an ``nnUNetv2_train`` command; else None."""
    if len(command) < 4 or command[0] != "nnUNetv2_train":
        return None
    given = dict(itertools.pairwise(command))
    dataset, configuration, fold = command[1:4]
    return dataset, given.get("-tr", "nnUNetTrainer"), given.get("-p", "nnUNetPlans"), configuration, fold
