"""The folder of one run, ``ROOT/runs/<recipe>``: its steps, and what each left behind when it ended."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.cases.records import read_record
from nnunet_kits.errors import WorkflowError
from nnunet_kits.recipes.steps import Resources, Step

STEPS = "steps.json"
LEFT = "left.json"
DONE, FAILED, RUNNING, REDO = "done", "failed", "running", "redo"
"""Folders of marks, one JSON file a step. ``redo`` tells a step that is run again to overwrite what it once wrote."""


@dataclass(frozen=True)
class RunFolder:
    """``ROOT/runs/<recipe>``.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def root(self) -> Path:
        """``ROOT``, where one run works at a time."""
        return self.path.parents[1]

    @property
    def steps_file(self) -> Path:
        """Recipe, settings, environment and steps."""
        return self.path / STEPS

    def log(self, name: str) -> Path:
        """Output of a step's command, of its last attempt."""
        return self.path / "logs" / f"{name}.log"

    def lock(self, name: str) -> Path:
        """Is locked while a step runs."""
        return self.path / "locks" / name

    def mark_file(self, kind: str, name: str) -> Path:
        """File of a mark of one of the four kinds."""
        return self.path / kind / f"{name}.json"

    def mark(self, kind: str, name: str, facts: Mapping[str, Any]) -> None:
        """Set a mark, whole or not at all; the time is added."""
        file = self.mark_file(kind, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps({**facts, "when": time.strftime("%Y-%m-%d %H:%M:%S")}, indent=2))

    def marked(self, kind: str, name: str) -> dict[str, Any] | None:
        """What a mark holds; None where it is not set, or cannot be read."""
        return read_record(self.mark_file(kind, name))

    def unmark(self, kind: str, name: str) -> None:
        """Remove a mark."""
        self.mark_file(kind, name).unlink(missing_ok=True)

    def write(self, facts: Mapping[str, Any], environment: Mapping[str, str], steps: Sequence[Step]) -> None:
        """Write ``steps.json``.

        Args:
            facts: what is to be known of the run: ``recipe``, ``settings``.
            environment: variables for every step.
            steps: all of them.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        content = {**facts, "environment": dict(environment), "steps": [asdict(step) for step in steps]}
        write_text(self.steps_file, json.dumps(content, indent=2, default=str))

    def read(self) -> tuple[dict[str, str], list[Step]]:
        """Environment and steps of ``steps.json``.

        Raises:
            WorkflowError: it is not there, or damaged.
        """
        content = read_record(self.steps_file)
        if content is None:
            raise WorkflowError(f"{self.steps_file}: no such file, or damaged. nnunet_kits run writes it.")
        steps = []
        for given in content["steps"]:
            words = {key: tuple(given[key]) for key in ("command", "after")}
            steps.append(Step(given["name"], given["verb"], **words, resources=Resources(**given["resources"])))
        return dict(content["environment"]), steps
