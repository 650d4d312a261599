"""Runs of cheap steps, in this process or as a command that tests may kill: ``python cheap_steps.py ROOT PROFILE``."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from nnunet_kits.recipes.steps import Resources, Step
from nnunet_kits.workflow.engine import run_steps
from nnunet_kits.workflow.folder import RunFolder
from nnunet_kits.workflow.outcome import table
from nnunet_kits.workflow.profile import find_profile


def step(name, script, *after, verb="measure", **resources):
    """A step of a shell script, which runs in the run's folder."""
    return Step(name, verb, ("bash", "-c", script), after, Resources(**resources))


def counted(name, script="", *after, **more):
    """A step that notes in ``events`` when it begins and when it ends."""
    script = f"set -e; echo begin {name} >> events; {script or 'true'}; echo end {name} >> events"
    return step(name, script, *after, **more)


def folder_of(root):
    return RunFolder(root / "runs" / "cheap")


def events(root):
    return (folder_of(root).path / "events").read_text().splitlines()


def run(root, steps, jobs=None, profile="local", environment=None):
    """Run them here; name -> how it ended."""
    found = run_steps(folder_of(root), {"recipe": "cheap"}, environment or {}, steps, find_profile(profile), jobs)
    return {outcome.step: outcome for outcome in found}


def start(root, steps, profile="local", deaf=False):
    """Run them in a session of their own, that can be killed as a whole; deaf to Ctrl-C as a script's ``&`` makes."""
    file = root / "given.json"
    root.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([[s.name, s.verb, s.command, s.after] for s in steps]))
    return subprocess.Popen(
        [sys.executable, __file__, str(root), profile],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if deaf else signal.SIG_DFL),
    )


def wait_until(condition, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def session(leader):
    """Process numbers of a session: all that a run has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def kill(numbers):
    for number in numbers:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    base = Path(sys.argv[1])
    given = json.loads((base / "given.json").read_text())
    try:
        steps = [Step(name, verb, tuple(words), tuple(after)) for name, verb, words, after in given]
        ended = run(base, steps, profile=sys.argv[2])
        print("\n".join(table(list(ended.values()))))
    except KeyboardInterrupt:
        sys.exit(130)
