"""How many voxels two label maps share, label by label, and the Dice that follows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Slices = tuple[slice, slice, slice]

BLOCK_BYTES = 1 << 18
"""How much is counted at a time; small enough to stay in the processor's cache."""


def foreground(mask: NDArray[np.bool_]) -> Slices | None:
    """The smallest box that holds every true voxel; None where there is none."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(planes):
        return None
    footprint = np.logical_or.reduce(mask[planes[0] : planes[-1] + 1], axis=0)
    found = (planes, np.flatnonzero(footprint.any(axis=1)), np.flatnonzero(footprint.any(axis=0)))
    z, y, x = (slice(int(hit[0]), int(hit[-1]) + 1) for hit in found)
    return z, y, x


def is_tight(*arrays: NDArray[np.uint8]) -> bool:
    """Whether some array has a value above 0 on each of the six sides of their common box."""
    sides = [(slice(None),) * axis + (end,) for axis in range(3) for end in (0, -1)]
    return bool(arrays[0].size) and all(any(array[side].any() for array in arrays) for side in sides)


def mask_of(array: NDArray[np.uint8], members: Sequence[int]) -> NDArray[np.bool_]:
    """Where a label map holds one of some labels."""
    if not members:
        return np.zeros(array.shape, np.bool_)
    lowest, highest = min(members), max(members)
    if highest - lowest + 1 == len(members):
        below = np.uint8(lowest)  # what is less wraps around
        consecutive: NDArray[np.bool_] = array - below <= np.uint8(highest - lowest)
        return consecutive
    mask = np.zeros(array.shape, np.bool_)
    for label in members:
        mask |= array == np.uint8(label)  # as Python's int it would be compared as 64 bits
    return mask


def joint_histogram(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8], labels: Sequence[int]
) -> NDArray[np.int64]:
    """Voxels for each pair of labels.

    Args:
        prediction: label values.
        reference: of the same shape.
        labels: foreground values, 1 to n; there are no others.

    Returns:
        (n + 1, n + 1), [predicted, true]; the pair of backgrounds is not counted and 0.
    """
    pairs = np.zeros((len(labels) + 1,) * 2, np.int64)
    flat = prediction.reshape(-1), reference.reshape(-1)
    for start in range(0, prediction.size, BLOCK_BYTES):
        block = [array[start : start + BLOCK_BYTES] for array in flat]
        here = range(1, max(int(part.max()) for part in block) + 1)  # most blocks have neither tumour nor cyst
        ours, theirs = ([part == np.uint8(label) for label in here] for part in block)
        for a in here:
            pairs[a, 0] += np.count_nonzero(ours[a - 1])
            pairs[0, a] += np.count_nonzero(theirs[a - 1])
            for b in here:
                pairs[a, b] += np.count_nonzero(ours[a - 1] & theirs[b - 1])
    pairs[1:, 0] -= pairs[1:, 1:].sum(axis=1)
    pairs[0, 1:] -= pairs[1:, 1:].sum(axis=0)
    return pairs


def dice(pairs: NDArray[np.int64], members: Sequence[int]) -> float:
    """Dice of the class that some labels make up: 1 where neither map has it, 0 where one has.

    Args:
        pairs: from :func:`joint_histogram`.
        members: labels.
    """
    total = int(pairs[list(members)].sum()) + int(pairs[:, list(members)].sum())
    return 2 * int(pairs[np.ix_(members, members)].sum()) / total if total else 1.0
