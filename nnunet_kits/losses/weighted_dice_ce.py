"""Soft Dice in which some classes count more than others, plus cross-entropy, of the hardest voxels if so asked."""

from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import cross_entropy
from nnunet_kits.losses.dice_topk import mean_of_hardest
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def weighted_dice_ce(task: LossTask, *, k: Annotated[float, Range(1e-6, 100)] = 100.0) -> nn.Module:
    """Minus the weighted mean of soft Dice over the foreground classes or regions, plus cross-entropy.

    The background's weight has no part in it. Without ``task.class_weights`` all weigh the same, which is Dice plus
    cross-entropy.

    Args:
        task: what the loss must know.
        k: per cent of the voxels, those where it is highest, whose cross-entropy counts, above 0 to 100; at least one
            voxel does. Below 100 this is online hard-example mining, as in ``dice_topk``.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: weighted Dice plus cross-entropy of Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models for
    Segmentation of Kidney and Masses", KiTS23, which states no weights, and mines hard examples without saying how.
    """
    given = None if task.class_weights is None else list(task.class_weights)[0 if task.has_regions else 1 :]
    weights = None if given is None else torch.tensor(given, dtype=torch.float64) / sum(given)

    def formula(found: Comparison) -> Tensor:
        dice = found.dice().mean(0)
        mean = dice.mean() if weights is None else (dice * weights.to(dice)).sum()
        return (found.mean_cost() if k == 100 else mean_of_hardest(found, k)) - mean

    return VoxelwiseLoss(task, formula, cross_entropy)
