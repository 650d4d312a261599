"""Focal Tversky loss: the Tversky loss to a power, which turns to the classes that are segmented worst."""

from typing import Annotated

from torch import nn

from nnunet_kits.losses.compare import VoxelwiseLoss
from nnunet_kits.losses.costs import TINY
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def focal_tversky(
    task: LossTask,
    *,
    alpha: Annotated[float, Range(0, 1)] = 0.3,
    beta: Annotated[float, Range(0, 1)] = 0.7,
    gamma: Annotated[float, Range(1, 3)] = 4 / 3,
) -> nn.Module:
    """One minus the Tversky index, to the power 1 / gamma, mean over the foreground classes or regions.

    Args:
        task: what the loss must know.
        alpha: weight of false positives, 0 to 1.
        beta: weight of false negatives, 0 to 1.
        gamma: 1 to 3; 1 is the Tversky loss.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Abraham and Khan, "A novel focal Tversky loss function with improved attention U-Net for lesion
    segmentation", arXiv:1810.07842: equation 4 and its values 0.7 (there the weight of false negatives is alpha), 0.3
    and 4/3. The paper sums over the classes.
    """
    return VoxelwiseLoss(
        task, lambda found: found.foreground().distance(alpha, beta).clamp_min(TINY).pow(1 / gamma).mean()
    )
