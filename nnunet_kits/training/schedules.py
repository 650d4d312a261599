"""Learning rates as functions of what a training has logged so far.

nnU-Net's checkpoints hold every logged loss, but no state of a schedule. So a schedule here has none: the rate of an
epoch is worked out afresh from the losses of the epochs before it. A continued training (``--c``) goes on exactly where
it was, and several GPUs, which log the same losses, agree.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from nnunet_kits.values import Rule, is_count, is_not_negative, is_share, one_of

if TYPE_CHECKING:
    from torch.optim import Optimizer

Log = Callable[[str], Sequence[float]]
"""``train_losses`` or ``val_losses`` -> that loss of every epoch so far."""


BEST, BEFORE = "best", "before"

Losses = Annotated[str, one_of("train_losses", "val_losses")]
Epochs = Annotated[int, Rule(is_count, "a positive int")]
Pause = Annotated[int, Rule(lambda v: v == 0 or is_count(v), "an int that is not negative")]
Factor = Annotated[float, Rule(lambda v: is_share(v) and v < 1, "a positive float below 1")]
Weight = Annotated[float, Rule(lambda v: is_not_negative(v) and v < 1, "a float from 0 to below 1")]
Least = Annotated[float, Rule(is_not_negative, "a float that is not negative")]
Reference = Annotated[str, one_of(BEST, BEFORE)]


@dataclass(frozen=True)
class Plateau:
    """The learning rate falls when a loss has stopped falling.

    Attributes:
        losses: which logged loss, ``train_losses`` or ``val_losses``.
        patience: epochs without improvement after which the rate falls.
        factor: what the rate is multiplied by.
        min_delta: how far below the reference a loss must be to count as an improvement.
        past_weight: weight of the past in an exponential moving average of the losses; 0 takes them as they are.
        floor: lowest rate. With the reference ``before`` the rate falls as long as it is above, so that the last fall
            may lead below.
        cooldown: epochs after a fall that do not count.
        reference: ``best``, the lowest loss so far, as torch's ReduceLROnPlateau has it: the epochs without improvement
            are counted anew after every fall. ``before``, the loss of the epoch before the last ``patience`` ones: the
            rate falls when none of these improved on it, from the third epoch after that many on.
    """

    losses: Losses
    patience: Epochs
    factor: Factor
    min_delta: Least = 0.0
    past_weight: Weight = 0.0
    floor: Least = 0.0
    cooldown: Pause = 0
    reference: Reference = BEST

    def rate(self, losses: Sequence[float], initial_lr: float) -> float:
        """The rate after these losses, one per epoch."""
        averages = moving_average(losses, self.past_weight)
        if self.reference == BEFORE:
            return self._rate_against_the_epoch_before(averages, initial_lr)
        times, _ = stalls(averages, self.patience, self.min_delta, self.cooldown)
        return max(initial_lr * self.factor**times, min(self.floor, initial_lr))

    def _rate_against_the_epoch_before(self, losses: Sequence[float], initial_lr: float) -> float:
        """The author's rule of Zhang's system (repository Yichizz/unet3d_kits19, ``train/engine.py``), parameters open.

        With its epochs, which are counted from 0, and which begin as if the rate had fallen in the first.
        """
        rate, fell = initial_lr, 0
        for epoch in range(self.patience + 2, len(losses)):
            before, *last = losses[epoch - self.patience : epoch + 1]
            stalled = all(loss >= before - self.min_delta for loss in last)
            if stalled and rate > self.floor and epoch > fell + self.cooldown:
                rate, fell = rate * self.factor, epoch
        return rate


def moving_average(losses: Sequence[float], past_weight: float) -> list[float]:
    """Exponential moving average that begins with the first loss; a loss that is no number leaves it as it was."""
    averages: list[float] = []
    for loss in losses:
        past = averages[-1] if averages else math.nan
        if math.isnan(past):
            averages.append(loss)
        else:
            averages.append(past if math.isnan(loss) else past_weight * past + (1 - past_weight) * loss)
    return averages


def stalls(losses: Sequence[float], patience: int, min_delta: float = 0.0, cooldown: int = 0) -> tuple[int, int]:
    """How often ``patience`` epochs in a row brought no improvement, and how many did since the last such time.

    An improvement is a loss more than ``min_delta`` below the lowest so far. The ``cooldown`` epochs after each such
    time do not count.
    """
    best, times, waiting, pause = math.inf, 0, 0, 0
    for loss in losses:
        improved, paused, pause = loss < best - min_delta, pause > 0, max(pause - 1, 0)
        best = loss if improved else best
        waiting = 0 if improved or paused else waiting + 1
        if waiting == patience:
            times, waiting, pause = times + 1, 0, cooldown
    return times, waiting


def is_lowest(losses: Sequence[float]) -> bool:
    """Whether the last loss is lower than all before it; one that is no number is not, and is lower than none."""
    return not math.isnan(losses[-1]) and not any(loss <= losses[-1] for loss in losses[:-1])


def cosine(epoch: int, epochs: int, initial_lr: float) -> float:
    """The rate of an epoch, counted from 0, along half a cosine from ``initial_lr`` to 0.

    Source: Loshchilov and Hutter, "SGDR", arXiv:1608.03983, equation 5, one cycle.
    """
    return initial_lr * 0.5 * (1 + math.cos(math.pi * epoch / epochs))


class EpochScheduler:
    """What nnU-Net steps with the number of each epoch: sets the rate that ``rate(epoch)`` gives."""

    def __init__(self, optimizer: "Optimizer", rate: Callable[[int], float]) -> None:
        self.optimizer, self.rate = optimizer, rate

    def step(self, epoch: int) -> None:
        """Set the rate of ``epoch``, counted from 0."""
        rate = self.rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
