"""What every loss is made of: soft counts per class, and a cost per voxel, in one pass over the logits.

A soft count is a sum of probabilities; a cost depends on a voxel's probability of being what it is. Both share one
softmax (or sigmoid), and their gradient is written out by hand, which takes fewer passes over large tensors, and fewer
tensors kept for the backward pass, than automatic differentiation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

VoxelCost = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""``(nll, error, truth) -> (cost, slope)``, per voxel.

``nll`` is -log of the probability of the truth. ``error`` is the probability minus what it should be; its absolute
value is one minus the probability of the truth. ``truth`` is the class (int64), or whether the voxel is in the region
(0.0 or 1.0). All have the shape (b, 1 or regions, [z,] y, x). ``slope`` is the derivative of the cost by ``nll``; None
stands for 1. ``nll`` may be overwritten.
"""


class SoftmaxTerms(torch.autograd.Function):
    """Counts and costs of exclusive classes: ``(logits, target, counted, cost) -> cost, tp, predicted, true``.

    Shape:
        logits (b, c, [z,] y, x), target (b, 1, [z,] y, x), counted the same or None -> cost (b, 1, [z,] y, x) and
        three times (b, c): probability on the class's own voxels, on all voxels, and the number of its voxels.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: Tensor, target: Tensor, counted: Tensor | None, cost: VoxelCost | None
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        """Compute all four."""
        index = target.long() if counted is None else target.long().masked_fill(~counted, 0)
        log_p = torch.log_softmax(logits, 1)
        nll = log_p.gather(1, index).neg_() if cost else None
        p = log_p.exp_()
        if counted is not None:  # an ignored voxel has no probability of anything, so it adds to no count
            p.mul_(counted)
        p_true = p.gather(1, index)
        axes = tuple(range(2, logits.ndim))
        of_class = [target == c for c in range(logits.shape[1])]  # the ignore label is none of them
        tp = torch.stack([(p_true * mine).sum((1, *axes)) for mine in of_class], 1)
        true = torch.stack([torch.count_nonzero(mine, (1, *axes)) for mine in of_class], 1).to(p.dtype)
        value = slope = None
        if cost and nll is not None:
            value, slope = cost(nll, p_true - 1, index)
            if counted is not None:
                value = value.masked_fill_(~counted, 0)
                slope = counted.to(p.dtype) if slope is None else slope.masked_fill_(~counted, 0)
        ctx.save_for_backward(p, index, slope)
        ctx.mark_non_differentiable(true)
        ctx.set_materialize_grads(False)
        return value, tp, p.sum(axes), true

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_cost: Tensor | None, to_tp: Tensor | None, to_predicted: Tensor | None, _: Any) -> Any:
        """Gradient by the logits: that by the log-probabilities, minus the probabilities times its sum."""
        p, index, slope = ctx.saved_tensors
        if to_tp is None and to_predicted is None:
            gradient = torch.zeros_like(p)
        else:
            to_tp, to_predicted = _per_class(to_tp, p), _per_class(to_predicted, p)
            gradient = p * to_predicted
            at_truth = to_tp.flatten(1).gather(1, index.flatten(1)).view(index.shape)
            gradient.scatter_add_(1, index, at_truth.mul_(p.gather(1, index)))
        if to_cost is not None:
            gradient.scatter_add_(1, index, -to_cost if slope is None else slope.mul(to_cost).neg_())
        return gradient.addcmul_(p, gradient.sum(1, keepdim=True), value=-1), None, None, None


class SigmoidTerms(torch.autograd.Function):
    """Counts and costs of overlapping regions: ``(logits, truth, counted, cost) -> cost, tp, predicted, true``.

    Shape:
        logits and truth (b, r, [z,] y, x), truth 0.0 or 1.0, counted (b, 1, [z,] y, x) or None -> cost as the
        logits, and three times (b, r): probability on the region's own voxels, on all voxels, and the number of
        its voxels.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, logits: Tensor, truth: Tensor, counted: Tensor | None, cost: VoxelCost | None
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        """Compute all four."""
        if counted is not None:
            truth = truth * counted
        axes = tuple(range(2, logits.ndim))
        buffer = torch.addcmul(logits, logits, truth, value=-2)  # x outside of a region, -x inside
        nll = torch.nn.functional.softplus(buffer) if cost else None
        p = torch.sigmoid(logits)
        if counted is not None:
            p.mul_(counted)
        tp, predicted, true = torch.mul(p, truth, out=buffer).sum(axes), p.sum(axes), truth.sum(axes)
        value = steepness = None
        if cost and nll is not None:
            steepness = torch.sub(p, truth, out=buffer)  # derivative by the logits: of nll, and below of the cost
            value, slope = cost(nll, steepness, truth)
            if slope is not None:
                steepness.mul_(slope)
            if counted is not None:
                value = value.masked_fill_(~counted, 0)
        ctx.save_for_backward(p, truth, steepness)
        ctx.mark_non_differentiable(true)
        ctx.set_materialize_grads(False)
        return value, tp, predicted, true

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_cost: Tensor | None, to_tp: Tensor | None, to_predicted: Tensor | None, _: Any) -> Any:
        """Gradient by the logits; at ignored voxels probability and truth are both 0, and so is it."""
        p, truth, steepness = ctx.saved_tensors
        if to_tp is None and to_predicted is None:
            gradient = torch.zeros_like(p)
        else:
            gradient = torch.addcmul(_per_class(to_predicted, p), truth, _per_class(to_tp, p))
            gradient.mul_(p).addcmul_(gradient, p, value=-1)
        if to_cost is not None:
            gradient.addcmul_(steepness, to_cost)
        return gradient, None, None, None


def _per_class(values: Tensor | None, like: Tensor) -> Tensor:
    """(b, c) -> (b, c, 1, 1[, 1]); zeros for None."""
    shape = (*like.shape[:2], *(1 for _ in like.shape[2:]))
    return like.new_zeros(shape) if values is None else values.view(shape)
