"""Commands as a user types them, run in this process: starting Python and torch for each takes longer than they do."""

import importlib.metadata
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from nnunet_kits.cli.main import main

LOOP = re.compile(r"for (\w+) in ([^;]+); do (.+); done")


def commands_of(page: Path, heading: str) -> list[str]:
    """Lines of the bash blocks below a heading of a page, up to the next one: continued lines joined, loops left."""
    _, _, section = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    section = section.partition("\n## ")[0]
    blocks = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(shlex.split(line, comments=True, posix=False)) for line in lines if line.strip()]


def type_line(line: str) -> None:
    """Run a line: one command, or one in a loop. Variables are expanded; a command that fails, fails the test."""
    if loop := LOOP.fullmatch(line):
        for value in loop[2].split():
            type_line(loop[3].replace(f"${loop[1]}", value))
        return
    program, *words = shlex.split(os.path.expandvars(line))
    if program == "nnunet_kits":
        assert main(words) == 0, line
        return
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [program, *words])
        entry.load()()
