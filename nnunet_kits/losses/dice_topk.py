"""Soft Dice plus the cross-entropy of the hardest voxels: online hard-example mining."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import cross_entropy
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def dice_topk(task: LossTask, *, k: Annotated[float, Range(1e-6, 100)] = 10.0) -> nn.Module:
    """Minus soft Dice, plus the mean cross-entropy of the k per cent of the batch's voxels where it is highest.

    With regions a voxel's cross-entropy is its mean over the regions. Ignored voxels are neither chosen nor counted.

    Args:
        task: what the loss must know.
        k: per cent, above 0 to 100; at least one voxel is taken.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Wu et al., "Bridging Category-level and Instance-level Semantic Image Segmentation", arXiv:1605.06885,
    section 3 (online bootstrapping); 10 per cent as nnU-Net's DC_and_topk_loss, which counts ignored voxels and takes
    no regions.
    """
    return VoxelwiseLoss(task, lambda found: mean_of_hardest(found, k) - found.dice().mean(), cross_entropy)


def mean_of_hardest(found: Comparison, k: float) -> Tensor:
    """Mean cost of the k per cent of the voxels that count where it is highest; 0 if none counts."""
    cost = found.voxel_costs().mean(1)  # over regions
    voxels = cost.numel()
    if found.counted is not None:
        cost = cost.masked_fill(~found.counted[:, 0], -1)
        voxels = int(torch.count_nonzero(found.counted))
    hardest = math.ceil(voxels * k / 100)
    return torch.topk(cost.flatten(), hardest, sorted=False).values.mean() if hardest else cost.new_zeros(())
