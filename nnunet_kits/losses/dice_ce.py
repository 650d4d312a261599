"""Soft Dice plus cross-entropy: nnU-Net's own loss."""

from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch import nn

from nnunet_kits.losses.task import LossTask


def dice_ce(task: LossTask) -> nn.Module:
    """Sum of soft Dice and cross-entropy (binary cross-entropy for regions), as nnU-Net configures it.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), online methods; classes of nnunetv2.
    """
    dice = {"batch_dice": task.batch_dice, "smooth": 1e-5, "ddp": task.ddp}
    if task.has_regions:
        return DC_and_BCE_loss(
            {},
            {**dice, "do_bg": True},
            use_ignore_label=task.ignore_label is not None,
            dice_class=MemoryEfficientSoftDiceLoss,
        )
    return DC_and_CE_loss(
        {**dice, "do_bg": False}, {}, ignore_label=task.ignore_label, dice_class=MemoryEfficientSoftDiceLoss
    )
