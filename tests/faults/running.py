"""Run a verb on a changed file, and judge what came of it."""

import contextlib
import io
import os
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nifti_faults import EITHER, REFUSED, SAME
from world import CASES, VICTIM, Job, results

from nnunet_kits.cli.main import main
from nnunet_kits.environment import SHIM_FOLDER

SECONDS = 60
"""A run that takes longer hangs."""


class Hung(BaseException):
    """A run was stopped by its alarm; nothing that catches exceptions may catch it."""


@dataclass
class Run:
    """One run of a verb.

    Attributes:
        job: what ran.
        fault: what was wrong.
        code: exit code; None after a traceback.
        said: what stood on standard error.
        left: file -> content of what it left.
        faults: what is wrong with the outcome, in words; empty where all is as promised.
        seconds: it took.
        kind: of fault.
    """

    job: str
    fault: str
    code: int | None
    said: str
    left: dict[str, Any]
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    kind: str = ""

    @property
    def outcome(self) -> str:
        """``served`` or ``refused``; else the first thing that is wrong."""
        return self.faults[0].split(":")[0] if self.faults else "served" if self.code == 0 else "refused"


@contextlib.contextmanager
def copied(world: Path, to: Path) -> Iterator[Path]:
    """A copy of the world in which a run may do what it likes, as the working folder and as nnU-Net's folders."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(world, to, symlinks=True)
    before, variables = Path.cwd(), dict(os.environ)
    os.chdir(to)
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(to / name)
    os.environ.update(
        nnUNet_extTrainer=str(SHIM_FOLDER), nnUNet_n_proc_DA="0", nnUNet_def_n_proc="1", nnUNet_compile="F"
    )
    try:
        yield to
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)
        shutil.rmtree(to, ignore_errors=True)


def run_verb(line: str) -> tuple[int | None, str]:
    """Exit code, and what stood on standard error; code None where it would have been a traceback."""
    said = io.StringIO()

    def hang(*_: Any) -> None:
        raise Hung

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code: int | None = main(line.split())
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except Hung:
        code = None
        said.write(f"HUNG\n{traceback.format_exc()}")
    except Exception:
        code = None
        said.write(traceback.format_exc())
    finally:
        signal.alarm(0)
    return code, said.getvalue()


def run_job(world: Path, to: Path, name: str, job: Job, fault: str, change: Callable[[Path], None]) -> Run:
    """Run a job on a copy of the world that was changed, and look at what it, or a run before it, left."""
    before = {file.relative_to(world) for file in world.rglob("*")}
    with copied(world, to) as root:
        change(root)
        start = time.monotonic()
        code, said = run_verb(job.line)
        run = Run(name, fault, code, said, {}, seconds=time.monotonic() - start)
        if code is None:
            run.faults.append("HUNG: " + said if "HUNG" in said else f"TRACEBACK: {said.strip().splitlines()[-1]}")
        try:
            stays = {Path(job.victim)} if job.kind == "json" and code == 2 else set()  # damaged, and told so
            run.left = results(root, before | stays)
        except Exception as damage:
            run.faults.append(f"HALF-WRITTEN: {damage}")
    return run


def judge(run: Run, job: Job, expected: str, whole: Run) -> Run:
    """Say what is wrong with a run.

    Args:
        run: on the changed file.
        job: what ran.
        expected: ``refused``, ``same``, ``either`` or ``other``.
        whole: the same job on whole files.
    """
    if run.code is None:
        return run
    if run.code not in (0, 2):
        run.faults.append(f"EXIT CODE: {run.code}")
    if expected == REFUSED and run.code == 0:
        run.faults.append("SERVED: what must be refused")
    if expected == SAME and run.code != 0:
        run.faults.append(f"REFUSED: what is whole: {run.said.strip()}")
    if expected in (SAME, EITHER) and run.code == 0:
        others = [name for name in {**whole.left, **run.left} if run.left.get(name) != whole.left.get(name)]
        others = [name for name in others if name != job.victim]  # a note that was changed may stay so
        run.faults += [f"OTHER RESULT: {', '.join(sorted(others))}"] * bool(others)
    if run.code == 2:
        errors = [line for line in run.said.splitlines() if line.startswith("nnunet_kits: error:")]
        victim = Path(job.victim).name.split(".")[0].removesuffix("_0000")
        if not errors:
            run.faults.append("NOTHING SAID")
        elif expected != SAME and not any(VICTIM in line or victim in line for line in errors):
            run.faults.append(f"NOT NAMED: {errors[-1]}")
        if any("Traceback" in line for line in run.said.splitlines()):
            run.faults.append("TRACEBACK: shown")
    if job.members:
        for case in set(CASES) - {VICTIM}:
            for name, content in whole.left.items():
                if case in name and run.left.get(name) != content:
                    run.faults.append(f"LOST: {name} of a whole case")
    return run
