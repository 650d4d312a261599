"""A prediction beside the truth: what the losses are written in.

A loss of this package is a formula over a :class:`Comparison`, and a cost per voxel that the comparison is made with.
Whether there are classes or regions, ignored voxels, half precision, a Dice over the batch or several processes is
settled here, for all of them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from nnunetv2.utilities.ddp_allgather import AllGatherGrad
from torch import Tensor, nn

from nnunet_kits.losses.task import LossTask
from nnunet_kits.losses.terms import SigmoidTerms, SoftmaxTerms, VoxelCost

SMOOTH = 5e-6
"""Added to the counts in both parts of an index: half of nnU-Net's 1e-5, which it adds to twice the counts."""


@dataclass(frozen=True)
class Comparison:
    """Counts and costs of one batch at one resolution.

    Attributes:
        task: what they are of.
        cost: cost of every voxel (b, 1 or regions, [z,] y, x), 0 where it is ignored; None if none was asked for.
        counted: whether a voxel counts (b, 1, [z,] y, x), or None if all do.
        voxels: how many voxels count, per case (b, 1).
        tp: sum of the probabilities of a class on its own voxels (b, c).
        predicted: sum of its probabilities on all voxels (b, c).
        true: number of its voxels (b, c).
    """

    task: LossTask
    cost: Tensor | None
    counted: Tensor | None
    voxels: Tensor
    tp: Tensor
    predicted: Tensor
    true: Tensor

    def mean_cost(self) -> Tensor:
        """Mean cost of the voxels that count, and over regions; 0 if no voxel counts."""
        cost = self.voxel_costs()
        return cost.sum() / (self.voxels.sum() * cost.shape[1]).clamp_min(1)

    def voxel_costs(self) -> Tensor:
        """The cost of every voxel; only of a comparison that was asked for one."""
        if self.cost is None:
            raise ValueError("a comparison made without a cost has none")
        return self.cost

    def counts(self) -> "Counts":
        """The counts that an index is computed from: per case, or over the batch of all processes."""
        stacked = torch.stack([self.tp, self.predicted, self.true, self.voxels.expand_as(self.tp)])  # (4, b, c)
        if self.task.batch_dice:
            stacked = stacked.sum(1, keepdim=True)
            if self.task.ddp:
                stacked = AllGatherGrad.apply(stacked).sum(0)
        tp, predicted, true, voxels = stacked
        others = predicted - tp, true - tp, voxels - predicted - true + tp
        return Counts(tp, *(count.clamp_min(0) for count in others))  # rounding may leave them below

    def dice(self) -> Tensor:
        """Soft Dice of every foreground class or region (b or 1, c), that of nnU-Net's MemoryEfficientSoftDiceLoss."""
        return 1 - self.foreground().distance(0.5, 0.5)

    def foreground(self) -> "Counts":
        """The counts without the background; regions have none."""
        counts = self.counts()
        return counts if self.task.has_regions else counts.classes(1)

    def background(self) -> "Counts":
        """The counts of the background; with regions, of what is outside of each."""
        counts = self.counts()
        return counts.complement() if self.task.has_regions else counts.classes(0, 1)


@dataclass(frozen=True)
class Counts:
    """Soft true positives, false positives, false negatives and true negatives, each (b or 1, c)."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    def distance(self, alpha: float, beta: float) -> Tensor:
        """One minus the Tversky index: alpha weighs false positives, beta false negatives; 1/2 and 1/2 give Dice.

        Computed as a fraction of its own, not as a difference, so that it is exact near 0.

        Source: Salehi et al., "Tversky loss function for image segmentation using 3D fully convolutional deep
        networks", arXiv:1706.05721, equation 3.
        """
        wrong = alpha * self.fp + beta * self.fn
        return wrong / (self.tp + wrong + SMOOTH)

    def classes(self, start: int, stop: int | None = None) -> "Counts":
        """The counts of some classes."""
        return Counts(*(count[:, start:stop] for count in (self.tp, self.fp, self.fn, self.tn)))

    def complement(self) -> "Counts":
        """The counts of being outside."""
        return Counts(self.tn, self.fn, self.fp, self.tp)


def compare(task: LossTask, logits: Tensor, target: Tensor, cost: VoxelCost | None = None) -> Comparison:
    """Compare logits with the truth, in float32 at least.

    Args:
        task: what they are of.
        logits: (b, c, [z,] y, x), of any floating type.
        target: (b, 1, [z,] y, x) of labels; or (b, regions, [z,] y, x) of 0 and 1, and with an ignore label one
            channel more, 1 where a voxel is ignored.
        cost: cost of a voxel.
    """
    logits = logits.to(precision(logits))
    truth, counted = split_target(task, target)
    terms = SigmoidTerms if task.has_regions else SoftmaxTerms
    found = terms.apply(logits, truth.to(logits.dtype) if task.has_regions else truth, counted, cost)
    if counted is None:
        voxels = logits.new_full((len(logits), 1), math.prod(logits.shape[2:]))
    else:
        voxels = torch.count_nonzero(counted.flatten(1), 1).to(logits.dtype)[:, None]
    value, tp, predicted, true = found
    return Comparison(task, value, counted, voxels, tp, predicted, true)


def precision(logits: Tensor) -> torch.dtype:
    """What a loss is computed in: float32, or float64 where logits are."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def split_target(task: LossTask, target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Labels (b, 1, ...) or regions (b, r, ...), and which voxels count (b, 1, ...), or None if all do."""
    if task.ignore_label is None:
        return target, None
    if task.has_regions:
        return target[:, :-1], target[:, -1:] == 0
    return target, target != task.ignore_label


class VoxelwiseLoss(nn.Module):
    """A formula over the comparison of logits with the truth."""

    def __init__(self, task: LossTask, formula: Callable[[Comparison], Tensor], cost: VoxelCost | None = None) -> None:
        super().__init__()
        self.task, self.formula, self.cost = task, formula, cost

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (b, c, [z,] y, x) and target (b, 1 or regions, [z,] y, x), see :func:`compare`, to a scalar."""
        return self.formula(compare(self.task, logits, target, self.cost))
