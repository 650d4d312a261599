"""Soft Dice in which some classes count more than others, plus cross-entropy, of the hardest voxels if so asked."""

from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import cross_entropy
from nnunet_kits.losses.dice_topk import mean_of_hardest
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def weighted_dice_ce(
    task: LossTask,
    *,
    k: Annotated[float, Range(1e-6, 100)] = 100.0,
    background: Annotated[float, Range(0, 1)] = 0.0,
) -> nn.Module:
    """Minus the weighted mean of soft Dice over the foreground classes or regions, plus cross-entropy.

    Without ``task.class_weights`` all weigh the same, which is Dice plus cross-entropy.

    Args:
        task: what the loss must know.
        background: part of the background's own weight with which its Dice counts, 0 to 1; regions have none.
        k: per cent of the voxels, those where it is highest, whose cross-entropy counts, above 0 to 100; at least one
            voxel does. Below 100 this is online hard-example mining, as in ``dice_topk``.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: weighted Dice plus cross-entropy of Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models for
    Segmentation of Kidney and Masses", KiTS23, which states no weights, and mines hard examples without saying how.
    With ``background`` 1 and equal weights the Dice is equation 2 of Chen and Jin, KiTS19.
    """

    def formula(found: Comparison) -> Tensor:
        dice = (1 - found.counts().distance(0.5, 0.5)).mean(0)
        weights = torch.ones_like(dice) if task.class_weights is None else dice.new_tensor(task.class_weights)
        if not task.has_regions:
            weights = torch.cat([background * weights[:1], weights[1:]])
        mean = (dice * weights).sum() / weights.sum()
        return (found.mean_cost() if k == 100 else mean_of_hardest(found, k)) - mean

    return VoxelwiseLoss(task, formula, cross_entropy)
