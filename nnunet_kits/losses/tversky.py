"""Tversky loss: a Dice in which a missed voxel costs more than an invented one."""

from typing import Annotated

from torch import nn

from nnunet_kits.losses.compare import VoxelwiseLoss
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def tversky(
    task: LossTask, *, alpha: Annotated[float, Range(0, 1)] = 0.3, beta: Annotated[float, Range(0, 1)] = 0.7
) -> nn.Module:
    """One minus the Tversky index, mean over the foreground classes or regions.

    Args:
        task: what the loss must know.
        alpha: weight of false positives, 0 to 1.
        beta: weight of false negatives, 0 to 1. With both 1/2 the index is the soft Dice.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep networks",
    arXiv:1706.05721: equation 3, and 0.3 and 0.7 from its table 1.
    """
    return VoxelwiseLoss(task, lambda found: found.foreground().distance(alpha, beta).mean())
