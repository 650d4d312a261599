"""Losses, one a file. A builder takes a :class:`LossTask` and parameters, and returns a module for one resolution.

``build.py`` builds one by name. Nothing of torch is imported here.
"""

from dataclasses import dataclass

from nnunet_kits.losses.task import LossTask


@dataclass(frozen=True)
class Loss:
    """One loss.

    Attributes:
        factory: dotted path of the builder ``(LossTask, **parameters) -> torch.nn.Module``.
        summary: one line for a list.
        source: who described it.
        weighted: whether it takes ``LossTask.class_weights``.
    """

    factory: str
    summary: str
    source: str
    weighted: bool = False


LOSSES: dict[str, Loss] = {
    "DiceCE": Loss(
        "nnunet_kits.losses.dice_ce.dice_ce", "soft Dice plus cross-entropy, nnU-Net's own", "Isensee et al."
    ),
    "CE": Loss("nnunet_kits.losses.ce.ce", "cross-entropy", "Beheshtifard"),
    "DiceWeightedCE": Loss(
        "nnunet_kits.losses.dice_weighted_ce.dice_weighted_ce",
        "soft Dice plus cross-entropy in which a voxel weighs as much as its class",
        "Zhang",
        weighted=True,
    ),
    "WeightedDiceCE": Loss(
        "nnunet_kits.losses.weighted_dice_ce.weighted_dice_ce",
        "soft Dice in which classes weigh differently, plus cross-entropy, of the hardest voxels if so asked",
        "Chen and Zhang, KiTS23",
        weighted=True,
    ),
    "DiceRingCE": Loss(
        "nnunet_kits.losses.dice_ring_ce.dice_ring_ce",
        "soft Dice plus cross-entropy in which a voxel weighs as its class, and more near a lesion",
        "sibling code of Chen and Zhang, KiTS23",
        weighted=True,
    ),
    "Tversky": Loss(
        "nnunet_kits.losses.tversky.tversky",
        "a Dice in which a missed voxel costs more than an invented one",
        "Salehi et al., arXiv:1706.05721",
    ),
    "FocalTversky": Loss(
        "nnunet_kits.losses.focal_tversky.focal_tversky",
        "the Tversky loss to a power, which turns to the classes that are segmented worst",
        "Abraham and Khan, arXiv:1810.07842",
    ),
    "DiceFocal": Loss(
        "nnunet_kits.losses.dice_focal.dice_focal", "soft Dice plus focal loss", "Lin et al., arXiv:1708.02002"
    ),
    "DiceTopK": Loss(
        "nnunet_kits.losses.dice_topk.dice_topk",
        "soft Dice plus the cross-entropy of the hardest voxels",
        "Wu et al., arXiv:1605.06885",
    ),
    "UnifiedFocal": Loss(
        "nnunet_kits.losses.unified_focal.unified_focal",
        "focal cross-entropy and focal Tversky with common parameters",
        "Yeung et al., arXiv:2102.04525",
    ),
    "DiceCEBoundary": Loss(
        "nnunet_kits.losses.dice_ce_boundary.dice_ce_boundary",
        "soft Dice, cross-entropy, and cross-entropy once more along boundaries",
        "after Ronneberger et al., arXiv:1505.04597",
    ),
}
"""Name in a trainer's name -> what it is."""

DEFAULT_LOSS = "DiceCE"

__all__ = ["DEFAULT_LOSS", "LOSSES", "Loss", "LossTask"]
