"""Optimisations: what updates the weights, how the learning rate falls, when to stop. Torch is imported on use."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nnunet_kits.errors import TrainingError
from nnunet_kits.training.schedules import BEFORE, EpochScheduler, Log, Plateau, cosine

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(frozen=True)
class Optimisation:
    """One optimisation.

    Attributes:
        summary: one line for a list.
        optimizer: class in ``torch.optim``.
        lr: learning rate of the first epoch.
        weight_decay: of the optimizer.
        schedule: ``constant``, ``cosine`` or a plateau; ``polynomial`` is nnU-Net's.
        early_stopping_patience: epochs without a new lowest validation loss after which the training ends, or None.
    """

    summary: str
    optimizer: str
    lr: float
    weight_decay: float = 0.0
    schedule: str | Plateau = "constant"
    early_stopping_patience: int | None = None


OPTIMISATIONS: dict[str, Optimisation] = {
    "SGD": Optimisation(
        "nnU-Net's own: SGD, momentum 0.99, learning rate 0.01, polynomial decay", "SGD", 1e-2, 3e-5, "polynomial"
    ),
    "Adam": Optimisation("Adam, learning rate 1e-3, constant", "Adam", 1e-3),
    # Source: Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models", KiTS23, tables 2 and 3.
    "AdamWCosine": Optimisation(
        "AdamW, weight decay 1e-4, learning rate 1e-4, cosine decay to 0", "AdamW", 1e-4, 1e-4, "cosine"
    ),
    # Source: Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor", Hyper-parameter tuning, for factor, patience
    # and the moving average; what it does not give (rate, weight decay, weight of the average, least improvement) is
    # as in the first version of nnU-Net, whose schedule this is.
    "AdamPlateauTrain": Optimisation(
        "Adam, 3e-4, x0.2 after 30 epochs in which the moving average of the training loss did not fall",
        "Adam",
        3e-4,
        3e-5,
        Plateau("train_losses", patience=30, factor=0.2, min_delta=1e-3, past_weight=0.93),
    ),
    # Source: Chen and Jin, "A 2D U-Net for Automated Kidney and Renal Tumor Segmentation", KiTS19, section 3.4.
    "AdamPlateauVal": Optimisation(
        "Adam, 1e-4, x0.8 down to 1e-6 after 30 epochs in which the validation loss did not fall by 0.005",
        "Adam",
        1e-4,
        schedule=Plateau("val_losses", patience=30, factor=0.8, min_delta=0.005, floor=1e-6),
    ),
    # Source: Zhang, as above, and the author's code: Yichizz/unet3d_kits19 @ db3054a, train/engine.py.
    "AdamPlateauBefore": Optimisation(
        "Adam, 5e-4, x0.2 after 30 epochs of which none beat the one before them in the averaged training loss",
        "Adam",
        5e-4,
        3e-5,
        Plateau("train_losses", 30, 0.2, past_weight=0.9, floor=1e-6, cooldown=5, reference=BEFORE),
    ),
    # Source: Beheshtifard, "Kidney Tumor Segmentation", Training Procedure. The patience is a guess.
    "AdamEarlyStop": Optimisation(
        "Adam, 1e-3, constant; ends after 10 epochs without a new lowest validation loss",
        "Adam",
        1e-3,
        early_stopping_patience=10,
    ),
}
"""Name in a trainer's name -> what it is. ``SGD`` is left to nnU-Net, the others are built by :func:`build`."""

DEFAULT_OPTIMISATION = "SGD"


def configured(
    name: str,
    initial_lr: float | None = None,
    weight_decay: float | None = None,
    plateau: Mapping[str, Any] | None = None,
) -> Optimisation:
    """An optimisation with other numbers; what is None stays its own.

    Args:
        name: key of ``OPTIMISATIONS``.
        initial_lr: learning rate of the first epoch.
        weight_decay: of the optimizer.
        plateau: fields of its plateau.

    Raises:
        TrainingError: fields of a plateau for an optimisation without one.
    """
    found = OPTIMISATIONS[name]
    found = replace(
        found,
        lr=found.lr if initial_lr is None else initial_lr,
        weight_decay=found.weight_decay if weight_decay is None else weight_decay,
    )
    if plateau is None:
        return found
    if not isinstance(found.schedule, Plateau):
        having = [other for other, its in OPTIMISATIONS.items() if isinstance(its.schedule, Plateau)]
        raise TrainingError(
            f"plateau is given, but the learning rate of optimisation {name} has none. Leave it out, or train with "
            f"{' or '.join(having)}."
        )
    return replace(found, schedule=replace(found.schedule, **plateau))


def build(found: Optimisation, parameters: Any, epochs: int, log: Log) -> tuple["Optimizer", EpochScheduler]:
    """Build an optimisation other than nnU-Net's own.

    Args:
        found: from :func:`configured`, not ``SGD``.
        parameters: the network's parameters.
        epochs: length of the training.
        log: gives the losses logged so far.

    Returns:
        The optimizer, and a scheduler whose ``step(epoch)`` nnU-Net calls once an epoch.
    """
    import torch

    first, schedule = found.lr, found.schedule
    optimizer = getattr(torch.optim, found.optimizer)(parameters, lr=first, weight_decay=found.weight_decay)

    def rate(epoch: int) -> float:
        if isinstance(schedule, Plateau):
            return schedule.rate(log(schedule.losses)[:epoch], first)
        return cosine(epoch, epochs, first) if schedule == "cosine" else first

    return optimizer, EpochScheduler(optimizer, rate)
