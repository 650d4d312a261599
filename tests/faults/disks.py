"""Full disks: a verb says so in one line and leaves nothing half-written; with space, the same command ends right."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from forked import CHOKED, largest_file, start
from kills import KILLED, half_written
from running import Run, copied, run_verb
from world import results

SHARES = (0.0, 0.3, 0.6, 0.9)
"""Of the space that a verb needs."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system in memory of 64 MiB there; False where we may not mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield bool(mounted)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def free(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def fill(folder: Path, left: int) -> Path:
    """Take all space but so much."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free(folder) - left))
    return ballast


def on_full_disks(world: Path, scratch: Path, verb: str, shares: tuple[float, ...] = SHARES) -> Iterator[Run]:
    """Run a verb on a disk that has a share of the space that it needs."""
    before = {file.relative_to(world) for file in world.rglob("*")} | {Path("ballast")}
    with small_disk(scratch) as mounted:
        if not mounted:
            return
        with copied(world, scratch / "run") as root:
            space = free(root)
            assert run_verb(KILLED[verb])[0] == 0
            whole, needed = results(root, before), space - free(root)
        for share in shares:
            with copied(world, scratch / "run") as root:
                ballast = fill(root, round(share * needed))
                run = Run(verb, f"a disk with {share:.0%} of the space needed", None, "", {})
                child = start(KILLED[verb])
                run.code, run.said = child.end(), child.said()
                yield look(run, verb, root, before, whole, ballast)


def with_small_files(world: Path, scratch: Path, verb: str, sizes: tuple[int, ...] = (40, 100, 600)) -> Iterator[Run]:
    """The same where no file may be larger than so many bytes: this needs no rights."""
    before = {file.relative_to(world) for file in world.rglob("*")}
    with copied(world, scratch) as root:
        assert run_verb(KILLED[verb])[0] == 0
        whole = results(root, before)
    for size in sizes:
        with copied(world, scratch) as root:
            run = Run(verb, f"files of at most {size} bytes", None, "", {})
            child = start(KILLED[verb], largest_file(size))
            run.code, run.said = child.end(), child.said()
            yield look(run, verb, root, before, whole, None)


def look(run: Run, verb: str, root: Path, before: set[Path], whole: dict, ballast: Path | None) -> Run:
    """What came of it, and of the same command with space."""
    if run.code is None:
        run.faults.append("HUNG")
    elif run.code == CHOKED or "Traceback" in run.said:
        run.faults.append(f"TRACEBACK: {run.said[-1500:]}")
    elif run.code not in (0, 2):
        run.faults.append(f"EXIT CODE: {run.code}: {run.said[-500:]}")
    elif run.code == 2 and "nnunet_kits: error: " not in run.said:
        run.faults.append(f"NOTHING SAID: {run.said[-500:]}")
    elif run.code == 2 and not any(name in run.said for name in (str(root), "out/", "report.html")):
        run.faults.append(f"NOT NAMED: {run.said[-500:]}")
    elif run.code == 0 and results(root, before) != whole:
        run.faults.append("LOST: it says that all went well")
    run.faults += half_written(root, before)
    if ballast:
        ballast.unlink()
    child = start(KILLED[verb])
    code = child.end()
    if code != 0:
        run.faults.append(f"NOT GONE ON: {code}: {child.said()[-500:]}")
    else:
        left = results(root, before)
        others = [name for name in {**whole, **left} if left.get(name, 1) != whole.get(name, 1)]
        run.faults += [f"OTHER RESULT: {', '.join(sorted(others))}"] * bool(others)
    return run
