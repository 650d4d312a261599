"""How the steps of a run ended, and the table that says so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.recipes.steps import Step
from nnunet_kits.status.last_error import last_error
from nnunet_kits.workflow.folder import DONE, FAILED, RUNNING, RunFolder

KEPT, RAN, FAILED_NOW, WAITING = "kept", "done", "failed", "waiting"
"""Done before; done in this run; failed in this run; not begun, because of one that failed."""


@dataclass(frozen=True)
class Outcome:
    """How one step ended.

    Attributes:
        step: its name.
        state: ``kept``, ``done``, ``failed`` or ``waiting``.
        seconds: how long its command took; None where that is not known.
        log: its output; None where there is none.
        error: the line that says why it failed; empty otherwise.
        waits_for: the step that failed, and before which it cannot begin; empty otherwise.
    """

    step: str
    state: str
    seconds: float | None = None
    log: Path | None = None
    error: str = ""
    waits_for: str = ""


def outcomes(folder: RunFolder, steps: Sequence[Step], left: Iterable[str]) -> list[Outcome]:
    """How each step ended.

    Args:
        folder: of the run.
        steps: all steps, those that are read before those that read them.
        left: names of those that this run was to do.
    """
    todo = set(left)
    found: dict[str, Outcome] = {}
    for step in steps:
        done, failed = folder.marked(DONE, step.name), folder.marked(FAILED, step.name)
        log = folder.log(step.name) if folder.log(step.name).is_file() else None
        stopper = next((found[name] for name in step.after if found[name].state in (FAILED_NOW, WAITING)), None)
        if done is not None:
            state = RAN if step.name in todo else KEPT
            found[step.name] = Outcome(step.name, state, done.get("seconds"), log)
        elif failed is not None:
            found[step.name] = Outcome(step.name, FAILED_NOW, failed.get("seconds"), log, str(failed.get("error", "")))
        elif folder.marked(RUNNING, step.name) is not None:
            found[step.name] = Outcome(step.name, FAILED_NOW, None, log, "killed without a word (out of memory?)")
        elif stopper is not None:
            found[step.name] = Outcome(step.name, WAITING, waits_for=stopper.waits_for or stopper.step)
        else:
            found[step.name] = Outcome(step.name, FAILED_NOW, None, folder.log("snakemake"), _not_begun(folder))
    return list(found.values())


def _not_begun(folder: RunFolder) -> str:
    """What Snakemake says where it could not even begin a step, such as a queue that refuses a job."""
    log = folder.log("snakemake")
    said = last_error(log.read_text(encoding="utf-8", errors="replace").splitlines()) if log.is_file() else ""
    return f"was not begun: {said}" if said else "was not begun"


def table(found: Sequence[Outcome]) -> list[str]:
    """Lines that say what ran, what failed and why, and what waits for it."""
    count = {state: sum(outcome.state == state for outcome in found) for state in (KEPT, RAN, FAILED_NOW, WAITING)}
    done = f"{count[RAN] + count[KEPT]} of {len(found)} steps are done: {count[RAN]} now, {count[KEPT]} before"
    lines = [f"{done}; {count[FAILED_NOW]} failed, {count[WAITING]} wait." if count[FAILED_NOW] else f"{done}."]
    width = max((len(outcome.step) for outcome in found), default=0)
    for outcome in found:
        if outcome.state == FAILED_NOW:
            lines.append(f"  failed   {outcome.step:{width}}  {outcome.error}")
            lines += [f"           {'':{width}}  {outcome.log}"] if outcome.log else []
    for outcome in found:
        if outcome.state == WAITING:
            lines.append(f"  waiting  {outcome.step:{width}}  for {outcome.waits_for}")
    return lines


def duration(seconds: float) -> str:
    """Seconds as people say them: ``8 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
