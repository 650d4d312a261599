"""Soft Dice plus cross-entropy in which voxels weigh as their class, and more in a ring around lesions."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from nnunet_kits.losses.compare import compare, precision, split_target
from nnunet_kits.losses.costs import class_weight
from nnunet_kits.losses.parameters import Range
from nnunet_kits.losses.task import LossTask

REACHES = (3, 4, 5, 6, 7)
"""Voxels that a ring reaches: half of the window of a max-pool of 7, 9, 11, 13 or 15. Source: as below."""


def dice_ring_ce(
    task: LossTask, *, ce: Annotated[float, Range(0, 1000)] = 20.0, ring: Annotated[float, Range(0, 1000)] = 15.0
) -> nn.Module:
    """Minus soft Dice, plus ``ce`` times the cross-entropy of the voxels, each by its weight, over how many there are.

    A voxel weighs as much as its class; with regions as much as the region inside, and 1 outside. At the highest
    resolution one outside all lesions, at most 3 to 7 voxels along each axis from one, weighs ``ring`` more:
    hard-example mining. The source draws how far for every batch; here a voxel gets the mean over all five, which is
    the same in expectation. Without ``task.class_weights`` all classes weigh the same.

    Lesions are all foreground classes but the first, or all regions but the first: a kidney alone has no ring.

    Args:
        task: what the loss must know; ``patch_size`` tells the highest resolution.
        ce: weight of the cross-entropy, 0 to 1000.
        ring: what a voxel near a lesion weighs more, 0 to 1000; 0 leaves the ring out.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x) -> scalar.

    Source: sibling code of Chen and Zhang, KiTS23: chencancan1018/crossMoDA @ 4f2ec0c,
    ``Segment/train/custom/model/model3D/heads/segsofthead3D.py``, with the class weights 1, 5, 15, 5.
    """
    return _RingLoss(task, ce, ring)


class _RingLoss(nn.Module):
    def __init__(self, task: LossTask, ce: float, ring: float) -> None:
        super().__init__()
        self.task, self.ce, self.ring = task, ce, ring
        self.weights = (
            None if task.class_weights is None else torch.tensor(list(task.class_weights), dtype=torch.float64)
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        around: Tensor | float = 0.0
        if self.ring and self.task.patch_size in (None, tuple(target.shape[2:])):
            truth, counted = split_target(self.task, target)
            lesions = _lesions(self.task, logits.shape[1], truth)
            around = self.ring * share_of_rings(lesions if counted is None else lesions & counted, precision(logits))

        def cost(nll: Tensor, error: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
            weight = class_weight(self.task, self.weights, truth, nll) + around
            return nll.mul_(weight), weight

        found = compare(self.task, logits, target, cost)
        return self.ce * found.mean_cost() - found.dice().mean()


def _lesions(task: LossTask, heads: int, truth: Tensor) -> Tensor:
    """Whether a voxel is of a lesion, (b, 1, [z,] y, x)."""
    if task.has_regions:
        return (truth[:, 1:] > 0).any(1, keepdim=True)
    return (truth >= 2) & (truth < heads)


def share_of_rings(lesions: Tensor, dtype: torch.dtype, reaches: Sequence[int] = REACHES) -> Tensor:
    """In how many of the rings of these reaches a voxel is, as a share; 0 on a lesion itself.

    Args:
        lesions: bool, (b, 1, [z,] y, x).
        dtype: of the result.
        reaches: voxels along each axis from a lesion, rising.

    Returns:
        As ``lesions``, 0 to 1.
    """
    grown, reached = lesions, 0
    rings = torch.zeros_like(lesions, dtype=torch.uint8)
    for reach in reaches:
        while reached < reach:
            step = min(reach - reached, 2 * reached + 1)  # as far as copies of what has grown leave no gap
            grown, reached = _grown(grown, step), reached + step
        rings += grown
    return rings.masked_fill_(lesions, 0).to(dtype).div_(len(reaches))


def _grown(mask: Tensor, step: int) -> Tensor:
    """A mask and its copies so many voxels away, along one axis after the other."""
    for axis in range(2, mask.ndim):
        rest = mask.shape[axis] - step
        if rest > 0:
            before, mask = mask, mask.clone()
            mask.narrow(axis, step, rest).logical_or_(before.narrow(axis, 0, rest))
            mask.narrow(axis, 0, rest).logical_or_(before.narrow(axis, step, rest))
    return mask
