"""How far one fold is: its epochs, its pseudo Dice, and whether it is finished, running, stopped, failed or waiting."""

import re
import statistics
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nnunet_kits.cases.records import read_record
from nnunet_kits.model_folder import BEST, FINAL, LATEST, ModelFolder
from nnunet_kits.status.training_log import History, logs_of, read_history

FINISHED, RUNNING, STOPPED, FAILED, WAITING = "finished", "running", "stopped", "failed", "waiting"

QUIET_EPOCHS = 3.0
"""A training whose log has not changed for as long as so many epochs take is taken for stopped."""
SHORTEST_QUIET_S = 120.0
"""At least: epochs may take seconds."""
QUIET_WITHOUT_EPOCH_S = 900.0
"""Before an epoch has ended, and in the final validation, where a line is written for each case."""
LAST_EPOCHS = 20
"""The time of an epoch is the median of the last ones: the first one compiles."""
COPIED_S = 30 * 3600.0
"""A file that is so much newer than the last line in it has been copied; time zones differ by less."""
MOMENT_S = 10.0
"""A log that has changed so much later than its training failed is of another one, which somebody runs by hand."""

LENGTH = re.compile(r"_(\d+)epochs?(?:_|$)")
"""In the names of trainers, ours and nnU-Net's own."""


@dataclass(frozen=True)
class Fold:
    """One fold of one model.

    Attributes:
        model: the folder of its model.
        name: of the fold: ``0``, ``all``.
        state: ``finished`` (trained and validated), ``running``, ``stopped``, ``failed`` or ``waiting``.
        epochs_done: epochs trained to their end; None where no log says it.
        epochs: how many there are to be; None where that is not known.
        ema_dice: moving average of the pseudo Dice after the last epoch.
        best_ema_dice: the best so far.
        epoch_seconds: what an epoch takes.
        seconds_left: of the epochs that are left; None where they are not known, 0 where there are none.
        quiet_seconds: since the log has changed.
        validation_dice: mean over cases and classes of ``validation/summary.json``, where the fold is finished.
        validation_classes: the same for each label or region, as nnU-Net writes it.
        error: the last line that tells an error.
        remarks: what else is to be known.
        history: epoch by epoch.
    """

    model: ModelFolder
    name: str
    state: str
    epochs_done: int | None
    epochs: int | None
    ema_dice: float | None
    best_ema_dice: float | None
    epoch_seconds: float | None
    seconds_left: float | None
    quiet_seconds: float | None
    validation_dice: float | None
    validation_classes: dict[str, float | None]
    error: str
    remarks: tuple[str, ...]
    history: History


@dataclass(frozen=True)
class Told:
    """What is known of a fold by what runs it, and not by its log.

    Attributes:
        state: ``running`` or ``failed``.
        since: when it came to that, in seconds since 1970.
        error: why it failed.
    """

    state: str
    since: float
    error: str = ""


def read_fold(model: ModelFolder, name: str, now: float, told: Told | None = None) -> Fold:
    """Read a fold's folder. Checkpoints are looked for, and never opened.

    Args:
        model: the folder of its model.
        name: of the fold.
        now: seconds since 1970.
        told: what is known besides.
    """
    folder = model.fold(name)
    history = read_history(folder)
    epochs = _epochs(folder, model.trainer)
    last = [history.seconds[epoch] for epoch in sorted(history.seconds)[-LAST_EPOCHS:]]
    epoch_seconds = statistics.median(last) if last else None
    quiet = _quiet_seconds(folder, history, now)
    there = {checkpoint for checkpoint in (FINAL, LATEST, BEST) if (folder / checkpoint).is_file()}
    trained = history.trained or (FINAL in there and (history.begun is None or history.done >= (epochs or 0)))
    summary = read_record(folder / "validation" / "summary.json") if trained else None
    validation = summary if history.validated or not history.predicted else None
    state = _state(history, trained, validation is not None, quiet, _patience(history, trained, epoch_seconds))
    untouched = told is not None and (quiet is None or now - quiet <= told.since + MOMENT_S)
    if told is not None and state != FINISHED and (told.state == RUNNING or untouched):
        state, history.error = told.state, told.error
    left = None if epochs is None else max(0, epochs - history.done)
    ema = list(history.ema_dice().values())
    return Fold(
        model=model,
        name=name,
        state=state,
        epochs_done=history.done if history.begun is not None else None,
        epochs=epochs,
        ema_dice=ema[-1] if ema else None,
        best_ema_dice=max(ema, default=None),
        epoch_seconds=epoch_seconds,
        seconds_left=0.0 if trained else None if left is None or epoch_seconds is None else left * epoch_seconds,
        quiet_seconds=quiet,
        validation_dice=_dice((validation or {}).get("foreground_mean")),
        validation_classes=_classes(validation),
        error=history.error,
        remarks=tuple(_remarks(history, state, trained, there)),
        history=history,
    )


def _epochs(folder: Path, trainer: str) -> int | None:
    """How many epochs there are to be: from what nnU-Net notes of its trainer, else by the trainer's name."""
    told = (read_record(folder / "debug.json") or {}).get("num_epochs")
    if isinstance(told, str) and told.isdecimal():
        return int(told)
    named = LENGTH.search(trainer)
    return int(named[1]) if named else None


def _quiet_seconds(folder: Path, history: History, now: float) -> float | None:
    """Since the newest log has changed; by its last line where the file is a copy. None without a log."""
    logs = logs_of(folder)
    try:
        changed = logs[-1].stat().st_mtime
    except (IndexError, OSError):
        return None
    try:
        said = datetime.fromisoformat(history.last_stamp).timestamp()
    except ValueError:  # no line has a date
        said = changed
    return max(0.0, now - (said if changed - said > COPIED_S else changed))


def _patience(history: History, trained: bool, epoch_seconds: float | None) -> float:
    """How long the log of a running training may stay as it is."""
    slowest = QUIET_EPOCHS * (epoch_seconds or 0)
    at_least = (
        SHORTEST_QUIET_S if epoch_seconds and not trained and history.begun is not None else QUIET_WITHOUT_EPOCH_S
    )
    return max(slowest, at_least)


def _state(history: History, trained: bool, validated: bool, quiet: float | None, patience: float) -> str:
    if trained and (validated or quiet is None):
        return FINISHED
    if quiet is None:
        return WAITING
    if history.error:
        return FAILED
    return RUNNING if quiet <= patience else STOPPED


def _remarks(history: History, state: str, trained: bool, there: set[str]) -> list[str]:
    """What the columns do not say."""
    remarks = list(history.remarks)
    if history.not_finite and max(history.not_finite) + 1 >= history.done:
        remarks.append(f"the training loss is no number since epoch {_first_of_run(history.not_finite)}")
    if trained and state != FINISHED:
        cases = "" if history.validation_cases is None else f" of {history.validation_cases}"
        remarks.append(f"trained; its log names {len(history.predicted)}{cases} cases of the validation")
        if state != RUNNING:
            remarks.append("nnUNetv2_train with --val goes on")
    elif state in (STOPPED, FAILED):
        if history.begun is None:
            remarks.append("ended before its first epoch")
        elif {LATEST, BEST} & there:
            remarks.append("nnUNetv2_train with --c goes on")
        else:
            remarks.append("without a checkpoint: it begins anew")
    if not trained and FINAL in there:
        remarks.append(f"{FINAL} is of an earlier training")
    if trained and FINAL not in there:
        remarks.append(f"there is no {FINAL}")
    return remarks


def _first_of_run(epochs: set[int]) -> int:
    """The first of the numbers that end in the largest without a gap."""
    first = max(epochs)
    while first - 1 in epochs:
        first -= 1
    return first


def _classes(summary: dict[str, Any] | None) -> dict[str, float | None]:
    means = (summary or {}).get("mean")
    return {name: _dice(scores) for name, scores in means.items()} if isinstance(means, dict) else {}


def _dice(scores: Any) -> float | None:
    """Its Dice; None where there is none, or no number."""
    value = scores.get("Dice") if isinstance(scores, dict) else None
    return float(value) if isinstance(value, int | float) and value == value else None
