"""Soft Dice plus focal loss, which turns to the voxels that are segmented worst."""

from typing import Annotated

from torch import nn

from nnunet_kits.losses.compare import VoxelwiseLoss
from nnunet_kits.losses.costs import focal
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def dice_focal(
    task: LossTask, *, gamma: Annotated[float, Range(0, 5)] = 2.0, weight: Annotated[float, Range(0, 1000)] = 1.0
) -> nn.Module:
    """Minus soft Dice, plus the mean focal loss of the voxels (with regions, of voxels and regions).

    Args:
        task: what the loss must know.
        gamma: power of one minus the probability of the truth, 0 to 5; 0 is cross-entropy.
        weight: weight of the focal loss, 0 to 1000.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002: equation 4 and gamma 2; without the
    class weight of its equation 5, since Dice looks after the small classes.
    """
    return VoxelwiseLoss(task, lambda found: weight * found.mean_cost() - found.dice().mean(), focal(gamma))
