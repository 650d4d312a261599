"""What a loss must know of the task."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_kits.errors import TrainingError


@dataclass(frozen=True)
class LossTask:
    """What a loss must know of the task.

    Attributes:
        has_regions: True for overlapping regions (sigmoid, targets (b, regions, ...)); False for exclusive classes
            (softmax, targets (b, 1, ...)).
        ignore_label: label of voxels that do not count, or None. With regions the last target channel marks them.
        batch_dice: sum the Dice over the batch before dividing, as the plans say.
        ddp: the batch is spread over several processes.
        heads: outputs of the network, which are the classes with background, or the regions; None if not known.
        class_weights: one positive weight per output, for the losses that take weights; None for equal ones.

    Raises:
        TrainingError: class weights that are not positive, or not one per output.
    """

    has_regions: bool
    ignore_label: int | None
    batch_dice: bool
    ddp: bool
    heads: int | None = None
    class_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        weights = self.class_weights
        if weights is None:
            return
        wanted = f"one positive number per {'region' if self.has_regions else 'class, background first'}"
        if not all(_is_number(weight) and 0 < weight < math.inf for weight in weights):
            raise TrainingError(f"class_weights are {list(weights)}, but must be {wanted}.")
        if len(weights) < (1 if self.has_regions else 2) or self.heads not in (None, len(weights)):
            have = f": {self.heads}" if self.heads is not None else ""
            raise TrainingError(f"class_weights has {len(weights)} numbers, but must have {wanted}{have}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
