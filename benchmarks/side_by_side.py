"""What the benchmarks share: programs in interpreters of their own, what they ran on, how alike two masks are."""

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


def device_name(device: str) -> str:
    """The GPU, and the versions of what runs on it."""
    import importlib.metadata

    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "nnunetv2", "numpy"))
    if device != "cuda":
        return f"{device}; {versions}"
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        found = "cuda"
    return f"{found}; {versions}"


def environment(folder: Path) -> dict[str, str]:
    """nnU-Net's folders below ``folder``, made where they are not there, and our trainers known."""
    from nnunet_kits.environment import FOLDER_VARIABLES, SHIM_FOLDER

    folders = {name: folder / name for name in FOLDER_VARIABLES}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    return {**{name: str(path) for name, path in folders.items()}, "nnUNet_extTrainer": str(SHIM_FOLDER)}


def dice(a: Any, b: Any) -> float:
    """Dice of two masks (numpy); 1 where both are empty."""
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


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
