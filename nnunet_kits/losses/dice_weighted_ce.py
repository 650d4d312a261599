"""Soft Dice plus cross-entropy in which some classes count more than others."""

from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import weighted_cross_entropy
from nnunet_kits.losses.hard_dice import hard_dice
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def dice_weighted_ce(
    task: LossTask, *, dice: Annotated[float, Range(0, 1000)] = 1.0, hard_dice: Annotated[float, Range(0, 1000)] = 0.0
) -> nn.Module:
    """Minus soft Dice, plus the weighted mean of cross-entropy over the voxels.

    A voxel weighs as much as its class. With regions a voxel of a region weighs as much as the region, one outside 1.
    The mean is divided by the sum of the weights, so that only their ratios matter (for regions, that to 1). Without
    ``task.class_weights`` all weigh the same, which is Dice plus cross-entropy.

    Args:
        task: what the loss must know.
        dice: weight of the soft Dice, 0 to 1000; 0 leaves it out.
        hard_dice: weight, 0 to 1000, of two terms without a gradient, see
            :func:`~nnunet_kits.losses.hard_dice.hard_dice`: one minus the mean Dice of all foreground and of the
            tumour, plus one minus that of the tumour. They change what is logged, and so a plateau, but no weight.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: weighted cross-entropy plus Dice of Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor in 3D
    Computed Tomography Images"; weighted mean as in torch.nn.CrossEntropyLoss. The author's repository,
    Yichizz/unet3d_kits19 @ db3054a, ``train/losses.py``, takes its Dice from the argmax, which is ``dice`` 0 and
    ``hard_dice`` 1, and has the weights 0.5, 1, 1.5.
    """
    weights = None if task.class_weights is None else torch.tensor(list(task.class_weights), dtype=torch.float64)

    def formula(found: Comparison) -> Tensor:
        soft = dice * found.dice().mean() if dice else 0.0
        if weights is None:
            return found.mean_cost() - soft
        own = weights.to(found.true)
        total = (found.true * own).sum()
        if task.has_regions:
            total = total + (found.voxels - found.true).sum()
        return found.voxel_costs().sum() / total.clamp_min(torch.finfo(total.dtype).tiny) - soft

    loss = VoxelwiseLoss(task, formula, weighted_cross_entropy(task, weights))
    return _WithHardDice(loss, hard_dice) if hard_dice else loss


class _WithHardDice(nn.Module):
    def __init__(self, loss: VoxelwiseLoss, weight: float) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        everything, tumor = hard_dice(self.loss.task, logits, target)
        cost: Tensor = self.loss(logits, target)
        return cost + self.weight * (2 - (everything + tumor) / 2 - tumor)
