"""Learning rates as functions of what a training has logged so far.

nnU-Net's checkpoints hold every logged loss, but no state of a schedule. So a schedule here has none: the rate of an
epoch is worked out afresh from the losses of the epochs before it. A continued training (``--c``) goes on exactly where
it was, and several GPUs, which log the same losses, agree.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.optim import Optimizer

Log = Callable[[str], Sequence[float]]
"""``train_losses`` or ``val_losses`` -> that loss of every epoch so far."""


@dataclass(frozen=True)
class Plateau:
    """The learning rate falls when a loss has stopped falling.

    Attributes:
        losses: which logged loss, ``train_losses`` or ``val_losses``.
        patience: epochs without improvement after which the rate falls; the count begins again with every fall.
        factor: what the rate is multiplied by.
        min_delta: how far below the best so far a loss must be to count as an improvement.
        past_weight: weight of the past in an exponential moving average of the losses; 0 takes them as they are.
        floor: lowest rate.
    """

    losses: str
    patience: int
    factor: float
    min_delta: float = 0.0
    past_weight: float = 0.0
    floor: float = 0.0

    def rate(self, losses: Sequence[float], initial_lr: float) -> float:
        """The rate after these losses, one per epoch."""
        times, _ = stalls(moving_average(losses, self.past_weight), self.patience, self.min_delta)
        return max(initial_lr * self.factor**times, min(self.floor, initial_lr))


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


def stalls(losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple[int, int]:
    """How often ``patience`` epochs in a row brought no improvement, and how many did since the last such time.

    An improvement is a loss more than ``min_delta`` below the lowest so far.
    """
    best, times, waiting = math.inf, 0, 0
    for loss in losses:
        if loss < best - min_delta:
            best, waiting = loss, 0
            continue
        waiting += 1
        if waiting == patience:
            times, waiting = times + 1, 0
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
