"""Unified focal loss: focal cross-entropy and focal Tversky with common parameters, for unbalanced classes."""

from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import TINY
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def unified_focal(
    task: LossTask,
    *,
    delta: Annotated[float, Range(0, 1)] = 0.6,
    gamma: Annotated[float, Range(0, 0.9)] = 0.5,
    weight: Annotated[float, Range(0, 1)] = 0.5,
) -> nn.Module:
    """The asymmetric unified focal loss, with every foreground class as a rare one.

    The weighted sum of two means. Over the voxels: cross-entropy times ``delta`` in the foreground, and times
    ``(1 - delta) * miss**gamma`` in the background. Over the classes, background too: one minus the Tversky index,
    in which false negatives weigh ``delta``, to the power ``1 - gamma`` for the foreground. With regions each region
    is a foreground, and what lies outside of it its background.

    Args:
        task: what the loss must know.
        delta: weight of the foreground and of false negatives, 0 to 1.
        gamma: how much easy background is held back, and hard foreground put forward, 0 to 0.9.
        weight: weight of the first mean, 0 to 1; that of the second is one minus it.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Yeung et al., "Unified Focal loss: Generalising Dice and cross entropy-based losses to handle class
    imbalanced medical image segmentation", arXiv:2102.04525: equations of the asymmetric variant, which it gives for
    two classes, and 0.6, 0.5, 0.5.
    """

    def cost(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        in_front = truth if task.has_regions else (truth > 0).to(nll.dtype)
        miss = error if task.has_regions else error.abs()  # in a region it is negative, and gives way to the 1
        miss = torch.maximum(miss, in_front).clamp_min_(TINY)  # 1 in the foreground, where no power has an effect
        factor = miss.pow(gamma).mul_(1 - delta).add_(in_front, alpha=2 * delta - 1)  # delta in the foreground
        value = nll.mul_(factor)
        # d(miss**g nll) / d(nll) = miss**g + g miss**g nll (1 / miss - 1), where d(miss)/d(nll) = 1 - miss
        return value, factor.add_(value, alpha=-gamma).addcdiv_(value, miss, value=gamma)

    def formula(found: Comparison) -> Tensor:
        foreground = found.foreground().distance(1 - delta, delta).clamp_min(TINY).pow(1 - gamma)
        background = found.background().distance(1 - delta, delta)
        return weight * found.mean_cost() + (1 - weight) * torch.cat([background, foreground], 1).mean()

    return VoxelwiseLoss(task, formula, cost)
