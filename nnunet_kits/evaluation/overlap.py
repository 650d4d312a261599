"""How many voxels two label maps share, label by label, and the Dice, precision and recall that follow."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 1 << 18
"""How much is counted at a time; small enough to stay in the processor's cache."""


def is_tight(*arrays: NDArray[np.uint8]) -> bool:
    """Whether some array has a value above 0 on each of the six sides of their common box."""
    sides = [(slice(None),) * axis + (end,) for axis in range(3) for end in (0, -1)]
    return bool(arrays[0].size) and all(any(array[side].any() for array in arrays) for side in sides)


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


def precision(pairs: NDArray[np.int64], members: Sequence[int]) -> float:
    """Share of a class's predicted voxels that are true: 1 where neither map has it, 0 where one has.

    Args:
        pairs: from :func:`joint_histogram`.
        members: labels.
    """
    return _share(pairs, members, int(pairs[list(members)].sum()))


def recall(pairs: NDArray[np.int64], members: Sequence[int]) -> float:
    """Share of a class's true voxels that are predicted: 1 where neither map has it, 0 where one has.

    Args:
        pairs: from :func:`joint_histogram`.
        members: labels.
    """
    return _share(pairs, members, int(pairs[:, list(members)].sum()))


def _share(pairs: NDArray[np.int64], members: Sequence[int], of: int) -> float:
    """The voxels that both maps have, as a share."""
    return int(pairs[np.ix_(members, members)].sum()) / of if of else dice(pairs, members)


def slice_dice(pairs: NDArray[np.int64], members: Sequence[int], slices: int) -> float:
    """Mean over slices of the Dice of a class; a slice that neither map has it in counts 1.

    Args:
        pairs: (s, n + 1, n + 1), :func:`joint_histogram` of each slice.
        members: labels.
        slices: how many there are in the whole image; those beyond ``s`` are empty in both maps.
    """
    return (sum(dice(of_slice, members) for of_slice in pairs) + slices - len(pairs)) / slices
