"""Commands as a user types them, run in this process: starting Python and torch for each takes longer than they do."""

import importlib.metadata
import os
import shlex
import sys

import pytest

from nnunet_kits.cli.main import main


def type_line(line: str) -> None:
    """Run a command. Variables are expanded; one that fails, fails the test."""
    program, *words = shlex.split(os.path.expandvars(line))
    if program == "nnunet_kits":
        assert main(words) == 0, line
        return
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program, *words])
        entry.load()()
