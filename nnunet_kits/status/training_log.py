"""nnU-Net's own text logs: all ``training_log_*.txt`` of a fold as one history."""

import ast
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_kits.status.last_error import last_error

LOGS = "training_log_*.txt"
STAMP = re.compile(r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.\d+)?: +(.*?)\s*$")
"""A line of the log: date, time, what is said. What has no stamp are plans and the paper to cite."""
EPOCH = re.compile(r"Epoch (\d+)$")
NUMBER = re.compile(r"np\.float\d+\(([^)]*)\)")

EMA_OLD, EMA_NEW = 0.9, 0.1
"""Shares of the mean so far and of an epoch in nnU-Net's moving average of the pseudo Dice.

Source: ``MetaLogger.log`` of nnunetv2 2.8.1.
"""


@dataclass
class History:
    """One fold's training, epoch -> number.

    Attributes:
        train_loss: mean over an epoch's iterations.
        val_loss: the same on validation patches.
        pseudo_dice: Dice over an epoch's validation patches, mean over classes.
        seconds: how long an epoch took.
        told_ema: moving average of the pseudo Dice, where the log says it: at each new best.
        not_finite: epochs whose training loss is no number.
        begun: the epoch that was begun last; None before the first.
        trained: whether the log says that training is done.
        validation_cases: how many cases the fold validates; None where the log does not say.
        predicted: cases that the final validation has begun to predict.
        validated: whether the log says that the final validation is complete.
        error: last line of the newest log that tells an error.
        last_stamp: date and time of the last line, as the log has it; empty without.
        remarks: logs that are empty, damaged or cannot be read.
    """

    train_loss: dict[int, float] = field(default_factory=dict)
    val_loss: dict[int, float] = field(default_factory=dict)
    pseudo_dice: dict[int, float] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    told_ema: dict[int, float] = field(default_factory=dict)
    not_finite: set[int] = field(default_factory=set)
    begun: int | None = None
    trained: bool = False
    validation_cases: int | None = None
    predicted: set[str] = field(default_factory=set)
    validated: bool = False
    error: str = ""
    last_stamp: str = ""
    remarks: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Epochs that were trained to their end."""
        return max((epoch + 1 for epoch in self.seconds), default=0)

    def ema_dice(self) -> dict[int, float]:
        """Moving average of the pseudo Dice as nnU-Net has it, by which it chooses the best checkpoint."""
        found: dict[int, float] = {}
        last: float | None = None
        for epoch, dice in sorted(self.pseudo_dice.items()):
            last = self.told_ema.get(epoch, dice if last is None else EMA_OLD * last + EMA_NEW * dice)
            found[epoch] = last
        return found

    def begin(self, epoch: int) -> None:
        """Begin an epoch: what an earlier run has told of it, and of later ones, is trained again."""
        self.begun, self.trained, self.validated = epoch, False, False
        self.predicted.clear()
        for series in (self.train_loss, self.val_loss, self.pseudo_dice, self.seconds, self.told_ema):
            for later in [known for known in series if known >= epoch]:
                del series[later]
        self.not_finite = {known for known in self.not_finite if known < epoch}


def logs_of(fold: Path) -> list[Path]:
    """The logs of a fold, oldest first: by the numbers in their names, where nnU-Net writes months without a zero."""
    return sorted(fold.glob(LOGS), key=lambda log: [int(number) for number in re.findall(r"\d+", log.name)])


def read_history(fold: Path) -> History:
    """The epochs of a fold from all its logs; an epoch that was trained again counts as the last."""
    history = History()
    for log in logs_of(fold):
        try:
            text = log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            history.remarks.append(f"{log.name} cannot be read ({error.strerror})")
            continue
        if not text.strip("\0 \n"):
            history.remarks.append(f"{log.name} is empty")
        elif "\0" in text or "\ufffd" in text:
            history.remarks.append(f"{log.name} is damaged: it holds bytes that are no text")
        lines, begun = text.splitlines(), 0
        for index, line in enumerate(lines):
            if stamped := STAMP.match(line):
                history.last_stamp = f"{stamped[1]} {stamped[2]}"
                begun = index if EPOCH.match(stamped[3]) else begun
                _take(history, stamped[3])
        history.error = last_error(lines[begun:])  # an error before a later epoch was survived
    return history


def _take(history: History, said: str) -> None:
    """Note what one line says."""
    for pattern, note in NOTES:
        if found := pattern.match(said):
            note(history, found[1] if pattern.groups else "")
            return


def _series(name: str) -> Callable[[History, str], None]:
    """Notes an epoch's number."""

    def note(history: History, text: str) -> None:
        number = _mean(text)
        if history.begun is None:
            return
        if number is not None:
            getattr(history, name)[history.begun] = number
        elif name == "train_loss":
            history.not_finite.add(history.begun)

    return note


def _note_trained(history: History, _: str) -> None:
    history.trained = True


def _note_validated(history: History, _: str) -> None:
    history.validated = True


def _note_cases(history: History, text: str) -> None:
    history.validation_cases = int(text)


NOTES: tuple[tuple[re.Pattern[str], Callable[[History, str], None]], ...] = (
    (EPOCH, lambda history, text: history.begin(int(text))),
    (re.compile(r"train_loss (.+)$"), _series("train_loss")),
    (re.compile(r"val_loss (.+)$"), _series("val_loss")),
    (re.compile(r"Pseudo dice (.+)$"), _series("pseudo_dice")),
    (re.compile(r"Epoch time: (\S+) s$"), _series("seconds")),
    (re.compile(r"Yayy! New best EMA pseudo Dice: (\S+)$"), _series("told_ema")),
    (re.compile(r"Training done\.$"), _note_trained),
    (re.compile(r"This (?:random 80:20 )?split has \d+ training and (\d+) validation cases"), _note_cases),
    (re.compile(r"predicting (.+)$"), lambda history, text: history.predicted.add(text)),
    (re.compile(r"Validation complete$"), _note_validated),
)
"""What nnU-Net says, and what is noted of it."""


def _mean(text: str) -> float | None:
    """A number, or the mean of a list of them; None where it is neither (``nan`` is left out)."""
    try:
        value = ast.literal_eval(NUMBER.sub(r"\1", text).replace("nan", "None"))
    except (ValueError, SyntaxError):
        return None
    numbers = [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int | float)]
    return sum(numbers) / len(numbers) if numbers else None
