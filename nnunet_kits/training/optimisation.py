"""Optimisations: what updates the weights, and how the learning rate falls. Torch is imported when one is built."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer

OPTIMISATIONS: dict[str, str] = {
    "SGD": "nnU-Net's own: SGD, momentum 0.99, learning rate 0.01, polynomial decay",
    "AdamWCosine": "AdamW, weight decay 1e-4, learning rate 1e-4, cosine decay to 0",
}
"""Name in a trainer's name -> what it is. ``SGD`` is left to nnU-Net, the others are built by :func:`build`."""

DEFAULT_OPTIMISATION = "SGD"


class CosineDecay:
    """Learning rate falling from its initial value to 0 along half a cosine.

    It depends on the epoch alone, so a resumed training goes on exactly where it was.

    Source: Loshchilov and Hutter, "SGDR", arXiv:1608.03983, equation 5, one cycle.
    """

    def __init__(self, optimizer: "Optimizer", initial_lr: float, epochs: int) -> None:
        self.optimizer, self.initial_lr, self.epochs = optimizer, initial_lr, epochs

    def step(self, epoch: int) -> None:
        """Set the rate of ``epoch``, counted from 0."""
        rate = self.initial_lr * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))
        for group in self.optimizer.param_groups:
            group["lr"] = rate


def build(name: str, parameters: Any, epochs: int, initial_lr: float | None = None) -> tuple["Optimizer", CosineDecay]:
    """Build an optimisation other than nnU-Net's own.

    Args:
        name: key of ``OPTIMISATIONS``, not ``SGD``.
        parameters: the network's parameters.
        epochs: length of the training.
        initial_lr: learning rate of the first epoch; None for the optimisation's own.

    Returns:
        The optimizer, and a scheduler whose ``step(epoch)`` nnU-Net calls once an epoch.
    """
    from torch.optim import AdamW

    if name == "AdamWCosine":
        # Source: Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models", KiTS23, tables 2 and 3.
        rate = 1e-4 if initial_lr is None else initial_lr
        optimizer = AdamW(parameters, lr=rate, weight_decay=1e-4)
        return optimizer, CosineDecay(optimizer, rate, epochs)
    raise KeyError(name)
