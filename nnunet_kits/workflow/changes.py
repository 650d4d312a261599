"""Which steps are left of a run, and which that were done must be done again because their commands have changed."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.errors import WorkflowError
from nnunet_kits.recipes.steps import Step
from nnunet_kits.workflow.folder import DONE, REDO, RunFolder

NEUTRAL = ("-device", "--device", "-np", "-npp", "-nps", "--jobs", "--workers", "-num_gpus")
"""Options with one value that change how a step is done, not what it gives."""

FILES = ("--preset", "--rule", "--chain", "--system")
"""Options that may name a user's file, whose content belongs to the command."""

REDONE = ("predict", "restore", "postprocess", "evaluate", "measure", "report")
"""Verbs that are done again: their results are written afresh, and no training has read them."""


def fingerprint(step: Step) -> dict[str, Any]:
    """What is kept of a step that was done: its command, and the content of the user's files that it names."""
    return {"command": list(step.command), "files": _digests(step.command)}


def _digests(command: Sequence[str]) -> dict[str, str]:
    named = [Path(value) for option, value in itertools.pairwise(command) if option in FILES]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in named if file.is_file()}


def is_same(mark: Mapping[str, Any], step: Step) -> bool:
    """Whether the mark of a step that was done is of this command, as far as its results go."""
    same = list(_telling(mark.get("command", ()))) == list(_telling(step.command))
    return same and mark.get("files", {}) == _digests(step.command)


def _telling(command: Iterable[str]) -> Iterator[str]:
    """The words of a command without the neutral options."""
    words = iter(command)
    for word in words:
        if word in NEUTRAL:
            next(words, None)
        else:
            yield word


def steps_left(folder: RunFolder, steps: Sequence[Step]) -> tuple[list[Step], dict[str, str]]:
    """The steps that are left to be done.

    A step that was done is done again where its command has changed, or where it reads what is done now. Their marks
    are taken away.

    Args:
        folder: of the run.
        steps: all steps, those that are read before those that read them.

    Returns:
        The steps that are left, in their order; of those that are done again, why.

    Raises:
        WorkflowError: a command has changed whose results are not simply made again: those of a training, and what a
            training that is done has read.
    """
    new: set[str] = set()
    changed: dict[str, str] = {}
    again: dict[str, str] = {}
    for step in steps:
        mark = folder.marked(DONE, step.name)
        read = next((name for name in step.after if name in changed), "")
        if mark is None:
            new.add(step.name)
            continue
        if not is_same(mark, step):
            changed[step.name] = step.name
            again[step.name] = f"its command was: {' '.join(mark.get('command', ['not kept']))}"
        elif read:
            changed[step.name] = changed[read]
            again[step.name] = f"{read} is done again"
        elif step.verb in REDONE and (before := next((name for name in step.after if name in new | again.keys()), "")):
            again[step.name] = f"it reads {before}"
        if step.name in changed and step.verb not in REDONE:
            _refuse(folder, step, next(s for s in steps if s.name == changed[step.name]), again)
    for name, why in again.items():
        folder.mark(REDO, name, {"why": why})
        folder.unmark(DONE, name)
    return [step for step in steps if step.name in new or step.name in again], again


def _refuse(folder: RunFolder, lasting: Step, first: Step, why: Mapping[str, str]) -> None:
    """Say that a step that is done would have to be done again, and is not by itself."""
    read = "" if lasting is first else f" {lasting.name}, which is done, has read its results."
    raise WorkflowError(
        f"{folder.path}: {first.name} was done with another command; {why[first.name]}, and is now: "
        f"{' '.join(first.command)}.{read} Give another --root, or the settings of before. To do it again all the same "
        f"delete {folder.mark_file(DONE, lasting.name)} and what {lasting.name} has written."
    )
