"""Verbs in processes of their own that share this one's imports, so that one which is to be killed begins at once."""

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cheap_steps import kill
from cheap_steps import session as session_of

from nnunet_kits.cli.main import main

CHOKED = 97
"""Exit code of a process that ended in a traceback."""


@dataclass
class Child:
    """A verb at work in a session of its own.

    Attributes:
        pid: of its first process.
        pipe: what it says comes out here; into a file it could not speak where no file may grow.
        watch: called now and then while it works.
    """

    pid: int
    pipe: int
    heard: bytes = b""
    watch: Callable[[], None] = lambda: None

    def said(self) -> str:
        """What it has said, on standard output and standard error."""
        with contextlib.suppress(OSError):  # nothing more for now, or closed
            while more := os.read(self.pipe, 1 << 16):
                self.heard += more
        return self.heard.decode(errors="replace")

    def end(self, seconds: float = 120) -> int | None:
        """Its exit code, minus the signal that ended it; None where it hung and was killed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.said()
            self.watch()
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.said()
                os.close(self.pipe)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        self.kill()
        return None

    def kill(self) -> bool:
        """Kill all processes of the session at once; whether it was still at work."""
        at_work = os.waitpid(self.pid, os.WNOHANG) == (0, 0)
        kill(session_of(self.pid))
        if at_work:
            os.waitpid(self.pid, 0)
        os.close(self.pipe)
        return at_work


def run_main(line: str | list[str]) -> int:
    return main(line.split() if isinstance(line, str) else line)


def start(
    line: str | list[str],
    prepare: Callable[[], None] = lambda: None,
    run: Callable[[Any], int] = run_main,
    session: bool = True,
) -> Child:
    """Run a verb in another process, in this one's folder and environment.

    Args:
        line: the verb with its arguments.
        prepare: called in the new process first.
        run: what is called with the line.
        session: whether it gets a session of its own, else it is killed with this process's.
    """
    heard, spoken = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside pytest's threads
        pid = os.fork()
    if pid:
        os.close(spoken)
        os.set_blocking(heard, False)
        return Child(pid, heard)
    code = CHOKED
    try:
        if session:
            os.setsid()
        signal.alarm(0)
        for number in (1, 2):
            os.dup2(spoken, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        warnings.simplefilter("ignore")
        prepare()
        code = run(line)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = 120  # as of Python's own end
        finally:
            os._exit(code)


def largest_file(size: int) -> Callable[[], None]:
    """For ``prepare``: writing beyond so many bytes of a file fails, as on a full disk."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare
