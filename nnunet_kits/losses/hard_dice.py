"""The Dice of the most probable labels: a number to be told, not learned from, since it has no gradient."""

import torch
from torch import Tensor

from nnunet_kits.losses.compare import precision, split_target
from nnunet_kits.losses.task import LossTask

TUMOR = 2
"""Class of the tumour in every KiTS year."""


def hard_dice(task: LossTask, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Dice over the batch of one process: of all foreground together, and of the tumour; 1 where both maps have none.

    Args:
        task: what they are of. The tumour is class 2, or the last class if there is no such; with regions all
            foreground is the first region, and the tumour the last.
        logits: (b, c, [z,] y, x).
        target: (b, 1 or regions, [z,] y, x).

    Returns:
        Two scalars.
    """
    with torch.no_grad():
        truth, counted = split_target(task, target)
        if task.has_regions:
            found, wanted = logits > 0, truth > 0
            pairs = [(found[:, region, None], wanted[:, region, None]) for region in (0, -1)]
        else:
            found, last = logits.argmax(1, keepdim=True), min(TUMOR, logits.shape[1] - 1)
            pairs = [(found > 0, truth > 0), (found == last, truth == last)]
        everything, tumor = (_dice(*pair, counted).to(precision(logits)) for pair in pairs)
        return everything, tumor


def _dice(found: Tensor, wanted: Tensor, counted: Tensor | None) -> Tensor:
    if counted is not None:
        found, wanted = found & counted, wanted & counted
    both, either = (found & wanted).sum(), found.sum() + wanted.sum()
    return torch.where(either > 0, 2 * both.double() / either.clamp_min(1), 1.0)
