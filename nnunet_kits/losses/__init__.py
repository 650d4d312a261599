"""Losses, one a file. A builder takes a :class:`LossTask` and parameters, and returns a module for one resolution.

``build.py`` builds one by name. Nothing of torch is imported here.
"""

from nnunet_kits.losses.task import LossTask

LOSSES: dict[str, str] = {
    "DiceCE": "nnunet_kits.losses.dice_ce.dice_ce",
    "CE": "nnunet_kits.losses.ce.ce",
    "DiceWeightedCE": "nnunet_kits.losses.dice_weighted_ce.dice_weighted_ce",
    "WeightedDiceCE": "nnunet_kits.losses.weighted_dice_ce.weighted_dice_ce",
    "Tversky": "nnunet_kits.losses.tversky.tversky",
    "FocalTversky": "nnunet_kits.losses.focal_tversky.focal_tversky",
    "DiceFocal": "nnunet_kits.losses.dice_focal.dice_focal",
    "DiceTopK": "nnunet_kits.losses.dice_topk.dice_topk",
    "UnifiedFocal": "nnunet_kits.losses.unified_focal.unified_focal",
    "DiceCEBoundary": "nnunet_kits.losses.dice_ce_boundary.dice_ce_boundary",
}
"""Name in a trainer's name -> dotted path of the builder ``(LossTask, **parameters) -> torch.nn.Module``."""

DEFAULT_LOSS = "DiceCE"

WEIGHTED_LOSSES = ("DiceWeightedCE", "WeightedDiceCE")
"""The losses that take ``LossTask.class_weights``."""

__all__ = ["DEFAULT_LOSS", "LOSSES", "WEIGHTED_LOSSES", "LossTask"]
