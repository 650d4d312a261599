"""Costs of a voxel that more than one loss has."""

import torch
from torch import Tensor

from nnunet_kits.losses.task import LossTask
from nnunet_kits.losses.terms import VoxelCost

TINY = 1e-7
"""Least number that a power is taken of: a power below 1 is infinitely steep at 0."""


def cross_entropy(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, None]:
    """Cross-entropy, of regions binary cross-entropy."""
    return nll, None


def class_weight(task: LossTask, weights: Tensor | None, truth: Tensor, like: Tensor) -> Tensor:
    """What every voxel weighs: as much as its class; with regions as much as the region inside, and 1 outside.

    Args:
        task: whether there are regions.
        weights: one per class or region; None for 1.
        truth: as a :data:`~nnunet_kits.losses.terms.VoxelCost` is given it.
        like: whose type the result has.
    """
    if weights is None:
        return torch.ones_like(like)
    own = weights.to(like)
    if task.has_regions:
        return torch.mul(truth, own.view(-1, *(1 for _ in like.shape[2:])) - 1).add_(1)
    return own[truth]


def weighted_cross_entropy(task: LossTask, weights: Tensor | None) -> VoxelCost:
    """Cross-entropy times the weight of a voxel's class; without weights cross-entropy."""
    if weights is None:
        return cross_entropy

    def cost(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        weight = class_weight(task, weights, truth, nll)
        return nll.mul_(weight), weight

    return cost


def focal(gamma: float) -> VoxelCost:
    """Cross-entropy times one minus the probability of the truth to the power gamma.

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002, equation 4.
    """

    def cost(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        miss = error.abs().clamp_min_(TINY)
        lower = miss if gamma == 2 else miss.pow(gamma - 1)
        steep = lower * nll
        value = torch.mul(steep, miss, out=nll)
        # d(miss**g nll) / d(nll), where d(miss)/d(nll) = 1 - miss:  miss**g + g miss**(g-1) nll (1 - miss)
        slope = miss.square_() if gamma == 2 else miss.mul_(lower)
        return value, slope.add_(steep.sub_(value), alpha=gamma)

    return cost
