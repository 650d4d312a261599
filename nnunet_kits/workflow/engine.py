"""Run what is left of a list of steps by Snakemake, and say how far it is."""

import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from nnunet_kits.environment import FOLDER_VARIABLES
from nnunet_kits.errors import WorkflowError
from nnunet_kits.recipes.steps import Step
from nnunet_kits.status.last_error import last_error
from nnunet_kits.workflow import locks
from nnunet_kits.workflow.alive import die_with_parent, only_run, wait_for_orphans
from nnunet_kits.workflow.changes import steps_left
from nnunet_kits.workflow.command import cards_of, snakemake_command, variables_for, write_left
from nnunet_kits.workflow.folder import FAILED, RUNNING, RunFolder
from nnunet_kits.workflow.outcome import Outcome, outcomes
from nnunet_kits.workflow.profile import Profile
from nnunet_kits.workflow.progress import Progress
from nnunet_kits.workflow.queue import refuse_jobs_left

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
STOP_S = {True: 30, False: 120}
"""How long Snakemake may take to end on Ctrl-C: on this machine, and with jobs of a cluster to cancel."""


def run_steps(
    folder: RunFolder,
    facts: Mapping[str, Any],
    environment: Mapping[str, str],
    steps: Sequence[Step],
    profile: Profile,
    jobs: int | None = None,
) -> list[Outcome]:
    """Run what is left of a list of steps; a step that fails leaves the others going.

    Args:
        folder: of the run.
        facts: what else is to be known of the run: ``recipe``, ``settings``.
        environment: variables for every step.
        steps: all steps, those that are read before those that read them.
        profile: where they run.
        jobs: how many at once; None for one a graphics card, or what the profile says.

    Returns:
        How each ended.

    Raises:
        WorkflowError: another run works there, a step was done with another command, or Snakemake cannot start.
        KeyboardInterrupt: this run was told to stop; everything that it started on this machine has ended.
    """
    with only_run(folder.root, str(facts.get("recipe", folder.path.name))) as variables:
        refuse_jobs_left(folder.root, profile)
        wait_for_orphans(folder.root)
        left, again = steps_left(folder, steps)
        folder.write(facts, {**_threads(), **environment}, steps)
        for name, why in again.items():
            logger.info(f"{name} is done again: {why}.")
        for name in FOLDER_VARIABLES:
            Path(environment.get(name, folder.path)).mkdir(parents=True, exist_ok=True)
        for step in steps:
            folder.unmark(FAILED, step.name)
            folder.unmark(RUNNING, step.name)
        if left:
            _run_left(folder, left, profile, jobs, variables, Progress(folder, left, len(steps)))
        return outcomes(folder, steps, [step.name for step in left])


def _threads() -> dict[str, str]:
    """The numbers of threads that the user has set, which Snakemake would set to others."""
    return {name: value for name, value in os.environ.items() if name.endswith("_NUM_THREADS")}


def _run_left(
    folder: RunFolder,
    left: Sequence[Step],
    profile: Profile,
    jobs: int | None,
    variables: Mapping[str, str],
    progress: Progress,
) -> None:
    cards = cards_of(profile, left)
    write_left(folder, left)
    shutil.rmtree(folder.path / ".snakemake", ignore_errors=True)  # what it kept of earlier runs; we know better
    own = {**variables, **variables_for(cards)} if profile.is_local else {}
    around = {name: value for name, value in os.environ.items() if name != "SNAKEMAKE_PROFILE"}
    log = folder.log("snakemake")
    log.parent.mkdir(parents=True, exist_ok=True)
    lock = locks.take(folder.lock("snakemake"), patience_s=2)
    if lock is None:
        raise WorkflowError(f"{folder.path}: Snakemake of an earlier run has not ended yet. Try again in a minute.")
    with lock, log.open("w", encoding="utf-8") as output, _stopped_like_ctrl_c():
        process = subprocess.Popen(
            snakemake_command(folder, profile, jobs, cards),
            env={**around, **own},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=[lock.fileno()],  # the next run waits for it: of a step that failed it takes the mark away
            preexec_fn=_before_exec,
        )
        try:
            while process.poll() is None:
                progress.look()
                time.sleep(LOOK_EVERY_S)
        finally:
            _end(process, STOP_S[profile.is_local])
        progress.look()
    if process.returncode and not progress.seen:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = last_error(lines) or (lines[-1].strip() if lines else "nothing said")
        raise WorkflowError(f"Snakemake could not start a step: {said} (all it said: {log}).")


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    """Take a hang-up and a polite kill for Ctrl-C, so that nothing is left running; ``nohup`` still works."""
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _before_exec() -> None:
    """Take SIGINT, by which we end it, even where a script started us deaf to it with ``&``; and never outlive us."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent()


def _end(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """End Snakemake and its steps as Ctrl-C does, where they still run; on a cluster it cancels its jobs."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
