"""A line for each step that begins or ends, seen from its marks: the same on this machine and on a cluster."""

import logging
from collections.abc import Sequence
from typing import Any

from nnunet_kits.recipes.steps import Step
from nnunet_kits.workflow.folder import DONE, FAILED, RUNNING, RunFolder
from nnunet_kits.workflow.outcome import duration

logger = logging.getLogger(__name__)

NOTE = "note: "
"""Begins a line of the verbs that tells something to think about, though it is no error."""


class Progress:
    """Says which steps begin and end.

    Attributes:
        seen: the steps that have begun.
    """

    def __init__(self, folder: RunFolder, left: Sequence[Step], count: int) -> None:
        """Begin.

        Args:
            folder: of the run.
            left: the steps that are left.
            count: all steps.
        """
        self.folder, self.count = folder, count
        self.done = count - len(left)
        self.names = [step.name for step in left]
        self.seen: set[str] = set()
        if self.done:
            logger.info(f"{self.done} of {count} steps were done before.")

    def look(self) -> None:
        """Say what has changed since the last look."""
        for name in list(self.names):
            if (mark := self.folder.marked(DONE, name)) is not None:
                self.done += 1
                self._ended(name, f"done after {_took(mark)}")
                self._pass_on_notes(name)
            elif (mark := self.folder.marked(FAILED, name)) is not None:
                self._ended(name, f"failed after {_took(mark)}: {mark.get('error')}")
            elif name not in self.seen and (mark := self.folder.marked(RUNNING, name)) is not None:
                self.seen.add(name)
                job = f" as job {mark['job']}" if mark.get("job") else ""
                logger.info(f"{self._place()} {name}: begun{job}")

    def _ended(self, name: str, how: str) -> None:
        self.names.remove(name)
        self.seen.add(name)
        logger.info(f"{self._place()} {name}: {how}")

    def _pass_on_notes(self, name: str) -> None:
        """Say what our commands say that the user should know, which would stand unread in a log."""
        try:
            lines = self.folder.log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # taken away meanwhile
            return
        for line in lines:
            if line.startswith(NOTE):
                logger.warning(f"  {line}")

    def _place(self) -> str:
        return f"[{self.done:{len(str(self.count))}} of {self.count}]"


def _took(mark: dict[str, Any]) -> str:
    seconds = mark.get("seconds")
    return duration(seconds) if isinstance(seconds, int | float) else "a time not known"
