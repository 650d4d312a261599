"""What a loss must know of the task."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class LossTask:
    """What a loss must know of the task.

    Attributes:
        has_regions: True for overlapping regions (sigmoid, targets (b, regions, ...)); False for exclusive classes
            (softmax, targets (b, 1, ...)).
        ignore_label: label of voxels that do not count, or None. With regions the last target channel marks them.
        batch_dice: sum the Dice over the batch before dividing, as the plans say.
        ddp: the batch is spread over several processes.
        class_weights: one positive weight per output, for the losses that take weights; None for equal ones.
        patch_size: ([z,] y, x) of the highest resolution, for losses that do there what they do not at the lower ones;
            None where every resolution counts as the highest.
    """

    has_regions: bool
    ignore_label: int | None
    batch_dice: bool
    ddp: bool
    class_weights: Sequence[float] | None = None
    patch_size: tuple[int, ...] | None = None
