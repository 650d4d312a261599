"""One step of a run, as a command: ``python -m nnunet_kits.workflow.step ROOT/runs/<recipe>/steps.json NAME``.

It does what is left of the step, with all output in the step's log, and marks how it ended. A step that was done is not
done again.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import IO

from nnunet_kits.environment import program
from nnunet_kits.errors import KitsError
from nnunet_kits.recipes.steps import Step
from nnunet_kits.status.last_error import last_error
from nnunet_kits.workflow import locks
from nnunet_kits.workflow.alive import die_with_parent, run_is_gone
from nnunet_kits.workflow.cards import lent
from nnunet_kits.workflow.changes import fingerprint, is_same
from nnunet_kits.workflow.folder import DONE, FAILED, REDO, RUNNING, RunFolder
from nnunet_kits.workflow.resume import command_left

THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR")
"""Of ``<name>_NUM_THREADS``, which Snakemake sets to 1 whatever the step does."""

NO_WORKERS = "nnUNet_n_proc_DA"
"""0 is good for training on a CPU, and stops nnU-Net's planner."""

PLANNING = ("fingerprint", "plan")
SHOWN_LINES = 20
STOP_S = 20
"""How long a command may take to end by itself once it is told to."""


class Stopped(BaseException):
    """This step was told to stop."""


def main(arguments: list[str] | None = None) -> int:
    """Run one step; 0 when it is done, 1 when it failed, 128 + signal when it was stopped, 2 on bad arguments."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 2:
        print("usage: python -m nnunet_kits.workflow.step STEPS.json NAME", file=sys.stderr)
        return 2
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return run_step(RunFolder(Path(given[0]).resolve().parent), given[1])
    except KitsError as error:
        print(f"{given[1]}: {error}", file=sys.stderr)
        return 2
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise Stopped(number)


def run_step(folder: RunFolder, name: str) -> int:
    """Do what is left of a step.

    Args:
        folder: of the run.
        name: of the step.

    Returns:
        Exit code.

    Raises:
        KitsError: no such step, a step that runs already, or a run that is gone.
    """
    environment, steps = folder.read()
    step = next((step for step in steps if step.name == name), None)
    if step is None:
        raise KitsError(f"{folder.steps_file} has no such step. It has: {', '.join(step.name for step in steps)}.")
    lock = locks.take(folder.lock(name), patience_s=2)
    if lock is None:
        raise KitsError("this step is running already.")
    with lock:
        if run_is_gone():
            raise KitsError("the run that this step belongs to has ended.")
        if (done := folder.marked(DONE, name)) is not None and is_same(done, step):
            return 0
        return _Attempt(folder, step, environment, lock).run()


class _Attempt:
    """One attempt at a step."""

    def __init__(self, folder: RunFolder, step: Step, environment: Mapping[str, str], lock: IO[str]) -> None:
        self.folder, self.step, self.lock = folder, step, lock
        self.environment = environment
        self.begun = time.monotonic()
        self.facts = fingerprint(step)

    def run(self) -> int:
        """Run the command, and mark how it ended."""
        where = {"pid": os.getpid(), "host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID")}
        self.folder.unmark(FAILED, self.step.name)
        self.folder.mark(RUNNING, self.step.name, {**self.facts, **where})
        try:
            code, error = self._command()
        except OSError as refused:  # a full disk
            code, error = 1, f"{refused.filename}: {refused.strerror}"
        except Stopped as stopped:
            number = int(stopped.args[0])
            if number == signal.SIGTERM:
                self._end(FAILED, code=128 + number, error="stopped from outside (cancelled, or its time was over)")
            self.folder.unmark(RUNNING, self.step.name)
            return 128 + number
        if code:
            self._end(FAILED, code=code, error=error)
        else:
            self._end(DONE)
            self.folder.unmark(REDO, self.step.name)
        self.folder.unmark(RUNNING, self.step.name)
        return 1 if code else 0

    def _end(self, mark: str, **more: object) -> None:
        seconds = round(time.monotonic() - self.begun, 1)
        self.folder.mark(mark, self.step.name, {**self.facts, "seconds": seconds, **more})

    def _command(self) -> tuple[int, str]:
        """Exit code, and the line of the log that says why it is not 0."""
        redo = self.folder.marked(REDO, self.step.name) is not None
        log = self.folder.log(self.step.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        left = command_left(self.step, self.environment, redo)
        with log.open("w", encoding="utf-8") as output, lent(self.folder, self.step.resources.gpus) as cards:
            print(
                f"$ {' '.join(left) if left else '# nothing is left of: ' + ' '.join(self.step.command)}", file=output
            )
            output.flush()
            code = self._wait_for(left, cards, output) if left else 0
        if code == 0 and self.step.verb == "train" and command_left(self.step, self.environment, redo) is not None:
            return 1, "the command ended well, but the fold's final checkpoint or its validation is not there"
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if code:
            print("\n".join([f"{self.step.name} failed; the end of {log}:", *lines[-SHOWN_LINES:]]), file=sys.stderr)
        return code, last_error(lines) or (lines[-1].strip() if len(lines) > 1 else f"exit status {code}")

    def _wait_for(self, command: tuple[str, ...], cards: Mapping[str, str], output: IO[str]) -> int:
        """Exit code of a command; it, and all that it started, ends when this step is stopped or its run is gone."""
        process = subprocess.Popen(
            [program(command[0]), *command[1:]],
            env={**self._variables(), **cards},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
            pass_fds=[self.lock.fileno()],  # the step counts as running as long as its command does
            preexec_fn=die_with_parent,
        )
        try:
            while True:
                try:
                    return process.wait(timeout=1)
                except subprocess.TimeoutExpired:
                    if run_is_gone():
                        raise Stopped(signal.SIGINT) from None
        finally:
            _end_group(process)

    def _variables(self) -> dict[str, str]:
        """The environment of the command."""
        found = {name: value for name, value in os.environ.items() if name not in _thread_variables()}
        if "SLURM_JOB_ID" in os.environ:  # the node has more processors than the job
            found |= dict.fromkeys(_thread_variables(), str(self.step.resources.cpus))
        found |= {"PYTHONUNBUFFERED": "1", **self.environment}
        if self.step.verb in PLANNING:
            found.pop(NO_WORKERS, None)
        return found


def _thread_variables() -> list[str]:
    return [f"{name}_NUM_THREADS" for name in THREADS]


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a command that is still running as Ctrl-C would; then kill what it left of its group."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            pass
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # nobody is left; macOS says so of a group that has ended, too
        pass


if __name__ == "__main__":
    sys.exit(main())
