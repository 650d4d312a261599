"""Cross-validation folds keyed by case number: the same patient is in the same fold in every year."""

import hashlib
from collections.abc import Sequence

from nnunet_kits.conversion.cases import case_number
from nnunet_kits.errors import ConversionError

DEFAULT_FOLDS = 5


def fold_of(number: int, folds: int = DEFAULT_FOLDS) -> int:
    """The fold in which a case is validated; depends on nothing but its number.

    Every block of ``folds`` consecutive numbers puts one case in each fold, in an order that a hash of the block gives.

    Args:
        number: 3 for ``case_00003``.
        folds: how many folds there are.
    """
    block, position = divmod(number, folds)

    def key(candidate: int) -> bytes:
        return hashlib.sha256(f"nnunet_kits folds={folds} block={block} position={candidate}".encode()).digest()

    return sorted(range(folds), key=key).index(position)


def assign_folds(names: Sequence[str], folds: int = DEFAULT_FOLDS) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Assign every case to the fold of its number, and fill folds that this leaves empty.

    With fewer cases than folds there are as many folds as cases. An empty fold takes the last case of the largest one.

    Returns:
        Case -> fold, and the cases that were moved -> (fold of their number, fold they are in).

    Raises:
        ConversionError: no case, or fewer than two folds asked for.
    """
    if folds < 2:
        raise ConversionError(f"{folds} folds: cross-validation needs at least 2. Use --folds 5, nnU-Net's own number.")
    if not names:
        raise ConversionError("No training case is left, so there is nothing to make folds of.")
    folds = min(folds, len(names))
    home = {name: fold_of(case_number(name), folds) for name in sorted(names)}
    members: list[list[str]] = [[name for name in home if home[name] == fold] for fold in range(folds)]
    while not all(members):
        largest = max(members, key=len)
        members[members.index([])].append(largest.pop())
    assigned = {name: fold for fold in range(folds) for name in members[fold]}
    moved = {name: (home[name], assigned[name]) for name in home if assigned[name] != home[name]}
    return {name: assigned[name] for name in home}, moved


def splits_of(assigned: dict[str, int]) -> list[dict[str, list[str]]]:
    """nnU-Net's ``splits_final.json``: per fold the training and the validation cases.

    A dataset of one single case trains and validates on it.
    """
    if len(assigned) == 1:
        return [{"train": list(assigned), "val": list(assigned)}]
    return [
        {
            "train": sorted(name for name, own in assigned.items() if own != fold),
            "val": sorted(name for name, own in assigned.items() if own == fold),
        }
        for fold in range(max(assigned.values()) + 1)
    ]
