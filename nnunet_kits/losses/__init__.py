"""Losses, one a file. Each builder takes a :class:`LossTask` and returns a module for one resolution."""

from nnunet_kits.losses.task import LossTask

LOSSES: dict[str, str] = {
    "DiceCE": "nnunet_kits.losses.dice_ce.dice_ce",
}
"""Name in a trainer's name -> dotted path of the builder ``(LossTask) -> torch.nn.Module``."""

DEFAULT_LOSS = "DiceCE"

__all__ = ["DEFAULT_LOSS", "LOSSES", "LossTask"]
