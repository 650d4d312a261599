"""Soft Dice plus cross-entropy in which some classes count more than others."""

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import cross_entropy
from nnunet_kits.losses.task import LossTask


def dice_weighted_ce(task: LossTask) -> nn.Module:
    """Minus soft Dice, plus the weighted mean of cross-entropy over the voxels.

    A voxel weighs as much as its class. With regions a voxel of a region weighs as much as the region, one outside 1.
    The mean is divided by the sum of the weights, so that only their ratios matter (for regions, that to 1). Without
    ``task.class_weights`` all weigh the same, which is Dice plus cross-entropy.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: weighted cross-entropy plus Dice of Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor in 3D
    Computed Tomography Images", which states no weights; weighted mean as in torch.nn.CrossEntropyLoss.
    """
    if task.class_weights is None:
        return VoxelwiseLoss(task, lambda found: found.mean_cost() - found.dice().mean(), cross_entropy)
    weights = torch.tensor(list(task.class_weights), dtype=torch.float64)

    def cost(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        own = weights.to(nll)
        if task.has_regions:
            own = own.view(-1, *(1 for _ in nll.shape[2:]))
            weight = torch.mul(truth, own - 1).add_(1)
        else:
            weight = own[truth]
        return nll.mul_(weight), weight

    def formula(found: Comparison) -> Tensor:
        own = weights.to(found.true)
        total = (found.true * own).sum()
        if task.has_regions:
            total = total + (found.voxels - found.true).sum()
        return found.voxel_costs().sum() / total.clamp_min(torch.finfo(total.dtype).tiny) - found.dice().mean()

    return VoxelwiseLoss(task, formula, cost)
