"""Soft Dice, cross-entropy, and cross-entropy once more along the boundaries."""

from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import compare, precision, split_target
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask


def dice_ce_boundary(
    task: LossTask,
    *,
    width: Annotated[int, Range(1, 10, whole="voxels")] = 1,
    weight: Annotated[float, Range(0, 1000)] = 1.0,
) -> nn.Module:
    """Minus soft Dice, plus cross-entropy, plus the mean cross-entropy of the voxels near a boundary of the truth.

    Near is: at most ``width`` voxels, counted along the axes, from a voxel with another label (with regions, for each
    of them, from the other side of it). Where an ignored part begins is no boundary.

    Args:
        task: what the loss must know.
        width: voxels on each side of a boundary, a whole number from 1 to 10. Voxels are those of the network's
            output, so that the width in mm differs by axis with the spacing, and grows with deep supervision.
        weight: weight of the mean along the boundaries, 0 to 1000.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: cross-entropy weighted by the distance to the boundary is from Ronneberger et al., "U-Net: Convolutional
    Networks for Biomedical Image Segmentation", arXiv:1505.04597, equation 2; a band in place of a distance, which
    costs a few comparisons, is ours.
    """
    return _BoundaryLoss(task, int(width), weight)


class _BoundaryLoss(nn.Module):
    def __init__(self, task: LossTask, width: int, weight: float) -> None:
        super().__init__()
        self.task, self.width, self.weight = task, width, weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        truth, counted = split_target(self.task, target)
        band = boundary_band(truth, counted, self.width)
        near = torch.count_nonzero(band)
        everyone = torch.full_like(near, band.numel())
        if counted is not None:
            everyone = torch.count_nonzero(counted) * band.shape[1]
        # Both means in one sum: a voxel has a share in the first, and one near a boundary in the second too.
        everywhere, along = torch.stack([everyone, near]).clamp_min(1).to(precision(logits)).reciprocal()
        share = (band * (self.weight * along)).add_(everywhere)

        def cost(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
            return nll.mul_(share), share

        found = compare(self.task, logits, target, cost)
        return found.voxel_costs().sum() - found.dice().mean()


def boundary_band(labels: Tensor, counted: Tensor | None, width: int) -> Tensor:
    """Whether a voxel is at most ``width`` voxels, counted along the axes, from one with another label.

    Args:
        labels: (b, any, [z,] y, x).
        counted: voxels that count (b, 1, [z,] y, x), or None for all.
        width: voxels, at least 1.

    Returns:
        bool, as ``labels``.
    """
    band = torch.zeros_like(labels, dtype=torch.bool)
    for axis in range(2, labels.ndim):
        last = labels.shape[axis] - 1
        differs = labels.narrow(axis, 0, last) != labels.narrow(axis, 1, last)
        if counted is not None:
            differs &= counted.narrow(axis, 0, last) & counted.narrow(axis, 1, last)
        band.narrow(axis, 0, last).logical_or_(differs)
        band.narrow(axis, 1, last).logical_or_(differs)
    for _ in range(width - 1):
        thin = band.clone()
        for axis in range(2, labels.ndim):
            last = labels.shape[axis] - 1
            band.narrow(axis, 0, last).logical_or_(thin.narrow(axis, 1, last))
            band.narrow(axis, 1, last).logical_or_(thin.narrow(axis, 0, last))
    return band if counted is None else band & counted
