"""What the benchmarks share: a program in an interpreter of its own, and what it was measured on."""

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any


def machine() -> str:
    """What the figures were measured on, and when."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return (
        f"{model}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {datetime.date.today()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def lines_of(program: str, *arguments: str, **variables: str) -> list[str]:
    """The lines that a program prints, in an interpreter of its own with some environment variables.

    Raises:
        SystemExit: it failed; the message is what it said.
    """
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.splitlines()


def told_by(program: str, *arguments: str, **variables: str) -> dict[str, Any]:
    """What a program prints last, as JSON; see :func:`lines_of`."""
    told: dict[str, Any] = json.loads(lines_of(program, *arguments, **variables)[-1])
    return told
