"""What classes and regions weigh: as stated, or by how many voxels they have."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnunet_kits.errors import TrainingError
from nnunet_kits.values import is_positive

EQUAL, FREQUENCIES = "equal", "frequencies"


def stated_weights(where: str, given: Any, outputs: Sequence[str]) -> list[float] | None:
    """The weights that somebody states.

    Args:
        where: what they are of, to begin the message.
        given: a list, an object of names, ``equal`` or ``frequencies``. An object may have names of other datasets.
        outputs: names of the network's outputs: classes with background, or regions.

    Returns:
        One weight per output, or None for ``frequencies``.

    Raises:
        TrainingError: it is none of these, or does not have one positive number for each output.
    """
    if given == FREQUENCIES:
        return None
    values = [1.0] * len(outputs) if given == EQUAL else given
    if isinstance(given, Mapping):
        values = [given[name] for name in outputs if name in given]
    right = isinstance(values, list) and all(is_positive(value) and value < math.inf for value in values)
    if not right or len(values) != len(outputs):
        raise TrainingError(
            f"{where} is {given!r}, but must be '{FREQUENCIES}', '{EQUAL}', or a list of {len(outputs)} positive "
            f"numbers or an object of them: one for each output of the network, {', '.join(outputs)}."
        )
    return values


def class_weights(counts: Mapping[int, float], regions: Sequence[int | tuple[int, ...]] | None) -> list[float]:
    """Weights of classes or regions: the rarer, the larger, by the square root.

    The square root of (voxels of the background / voxels of the class), so that the background's is 1; for a region of
    (voxels outside / voxels inside). What has no voxels gets the largest weight of the others. Ours: the papers that
    weigh classes state no weights.

    Args:
        counts: label -> voxels, without those to ignore.
        regions: labels of each region; None for classes.

    Returns:
        One weight per class, in the order of their labels, or one per region.
    """
    total = sum(counts.values())
    if regions is None:
        inside = np.array([counts[label] for label in sorted(counts)], float)
        other = np.full(len(inside), float(counts[0]))
    else:
        members = [region if isinstance(region, tuple) else (region,) for region in regions]
        inside = np.array([sum(counts[label] for label in labels) for labels in members], float)
        other = total - inside
    weights = np.sqrt(np.maximum(other, 1) / np.maximum(inside, 1))
    weights[inside == 0] = weights[inside > 0].max(initial=1.0)
    return [float(weight) for weight in weights]
