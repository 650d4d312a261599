"""An overview in words: what stands in its tables, and the tables as text."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from nnunet_kits.status.folds import FINISHED, QUIET_EPOCHS, QUIET_WITHOUT_EPOCH_S, SHORTEST_QUIET_S, Fold
from nnunet_kits.status.overview import Overview
from nnunet_kits.status.runs import Run, StepState

UNITS = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def duration(seconds: float | None) -> str:
    """``45 s``, ``1 min 32 s``, ``3 h 5 min``, ``2 d 4 h``; nothing where it is not known."""
    if seconds is None:
        return ""
    for large, name, small, smaller in UNITS:
        if round(seconds / small) * small >= large:
            count, rest = divmod(round(seconds / small), large // small)
            return f"{count} {name} {rest} {smaller}" if rest else f"{count} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 or not seconds else f"{seconds:.1f} s"


def _epochs(fold: Fold) -> str:
    done = "" if fold.epochs_done is None else str(fold.epochs_done)
    if fold.epochs is None:
        return done
    return f"{done or 0} of {fold.epochs}"


def _dice(fold: Fold) -> str:
    if fold.ema_dice is None or fold.best_ema_dice is None:
        return ""
    return f"{fold.ema_dice:.3f} ({fold.best_ema_dice:.3f})"


COLUMNS: dict[str, Callable[[Fold], str]] = {
    "state": lambda fold: fold.state,
    "epochs": _epochs,
    "EMA Dice (best)": _dice,
    "an epoch": lambda fold: duration(fold.epoch_seconds),
    "left": lambda fold: "" if not fold.seconds_left else duration(fold.seconds_left),
    "validation": lambda fold: "" if fold.validation_dice is None else f"{fold.validation_dice:.3f}",
    "last change": lambda fold: "" if fold.quiet_seconds is None else f"{duration(fold.quiet_seconds)} ago",
}
"""Columns of the table of folds."""


def notes(fold: Fold) -> list[str]:
    """What stands below a fold's row."""
    return [*([f"error: {fold.error}"] if fold.error else []), *fold.remarks]


def explained() -> str:
    """How running is told from stopped, and what the numbers are."""
    return (
        f"A fold counts as running while its log changes at least every {QUIET_EPOCHS:.0f} epochs' time "
        f"({duration(SHORTEST_QUIET_S)} at least; {duration(QUIET_WITHOUT_EPOCH_S)} before its first epoch has ended "
        "and in its validation), or while the step of a recipe that trains it runs on this machine. EMA Dice is "
        "nnU-Net's moving average of the pseudo Dice. What is left is without the validation, whose Dice is nnU-Net's "
        "mean over cases and classes."
    )


def summary(overview: Overview) -> str:
    """How many folds there are in each state."""
    counts = Counter(fold.state for fold in overview.folds)
    folds = "1 fold" if len(overview.folds) == 1 else f"{len(overview.folds)} folds"
    return f"{folds}: {', '.join(f'{count} {state}' for state, count in counts.items())}" if counts else "no folds"


def step_note(step: StepState) -> str:
    """What is to be said of a step besides its state."""
    if step.state == FINISHED:
        return duration(step.seconds)
    if step.process:
        return step.process
    if step.waits_for:
        return f"for {', '.join(step.waits_for)}"
    told = [f"{step.log.parent.name}/{step.log.name}"] if step.log is not None else []
    return ": ".join([*told, *([step.error] if step.error else [])])


def run_summary(run: Run) -> str:
    """How many of a recipe's steps are in each state."""
    counts = Counter(step.state for step in run.steps)
    return f"{len(run.steps)} steps: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def by_model(folds: Sequence[Fold]) -> Iterator[tuple[str, list[Fold]]]:
    """Name of each model, and its folds."""
    for path, group in groupby(folds, key=lambda fold: fold.model.path):
        yield f"{path.parent.name}/{path.name}", list(group)


def as_lines(overview: Overview) -> list[str]:
    """The overview as text; of recipes the steps that are not finished."""
    rows = {id(fold): [fold.name, *(text(fold) for text in COLUMNS.values())] for fold in overview.folds}
    titles = ["fold", *COLUMNS]
    widths = [max(len(row[i]) for row in [titles, *rows.values()]) for i in range(len(titles))]
    lines: list[str] = []
    for name, folds in by_model(overview.folds):
        lines += [name, "  " + _row(titles, widths)]
        for fold in folds:
            lines.append("  " + _row(rows[id(fold)], widths))
            lines += [f"  {'':{widths[0]}}  {note}" for note in notes(fold)]
        lines.append("")
    for run in overview.runs:
        lines.append(f"recipe {run.recipe}, {run_summary(run)}, in {run.folder}")
        lines += [f"  {remark}" for remark in run.remarks]
        left = [step for step in run.steps if step.state != FINISHED]
        width = max((len(step.name) for step in left), default=0)
        lines += [f"  {step.name:{width}}  {step.state:8}  {step_note(step)}".rstrip() for step in left]
        lines.append("")
    return [*lines, summary(overview)]


def as_data(overview: Overview) -> dict[str, Any]:
    """The overview for JSON, without the curves."""
    own = (
        *("state", "epochs_done", "epochs", "ema_dice", "best_ema_dice", "epoch_seconds", "seconds_left"),
        *("quiet_seconds", "validation_dice", "validation_classes", "error", "remarks"),
    )
    folds = [
        {
            "dataset": fold.model.dataset_folder.name,
            "trainer": fold.model.trainer,
            "plans": fold.model.plans,
            "configuration": fold.model.configuration,
            "fold": fold.name,
            **{name: getattr(fold, name) for name in own},
        }
        for fold in overview.folds
    ]
    return {"root": overview.root, "folds": folds, "runs": overview.runs}


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()
