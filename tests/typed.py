"""Commands as a user types them, run in this process: starting Python and torch for each takes longer than they do."""

import importlib.metadata
import sys
from collections.abc import Sequence

import pytest

from nnunet_kits.cli.main import main


def type_command(command: Sequence[str]) -> None:
    """Run a command; one that fails, fails the test."""
    program, *words = command
    if program == "nnunet_kits":
        assert main(words) == 0, command
        return
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(command))
        entry.load()()
