"""Cross-entropy alone."""

from torch import nn

from nnunet_kits.losses.compare import Comparison, VoxelwiseLoss
from nnunet_kits.losses.costs import cross_entropy
from nnunet_kits.losses.task import LossTask


def ce(task: LossTask) -> nn.Module:
    """Mean cross-entropy of the voxels; with regions the mean binary cross-entropy of voxels and regions.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: Beheshtifard, "Kidney Tumor Segmentation", which trains on binary cross-entropy alone.
    """
    return VoxelwiseLoss(task, Comparison.mean_cost, cross_entropy)
