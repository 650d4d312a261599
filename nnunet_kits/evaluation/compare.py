"""Whether one system is better than another on the same cases."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.evaluation.paired import paired_rows
from nnunet_kits.evaluation.tables import check_same_cases, read_csv


def compare_systems(first: Path, second: Path, resamplings: int = 10000) -> dict[str, dict[str, Any]]:
    """Compare two systems case by case.

    Args:
        first: folder with an ``evaluation.csv``, or the file.
        second: another, of the same cases.
        resamplings: of the paired bootstrap, 1000 or more.

    Returns:
        Column of ``evaluation.csv``, and for each metric its mean over HECs (``Dice_mean``, ``SD_mean``) -> see
        :func:`nnunet_kits.evaluation.paired.paired_rows`.

    Raises:
        EvaluationError: a missing file, different cases or columns, or too few resamplings.
    """
    tables = [read_csv(first), read_csv(second)]
    check_same_cases((first, second), tables)
    cases = [case for case in tables[0] if case != "average"]
    columns = list(tables[0]["average"])
    (names, ours), (_, theirs) = (
        with_means(np.array([[table[c][column] for column in columns] for c in cases]), columns) for table in tables
    )
    return paired_rows(names, ours, theirs, resamplings)


def with_means(scores: NDArray[np.float64], columns: list[str]) -> tuple[list[str], NDArray[np.float64]]:
    """The columns and, for each metric of several HECs, their mean."""
    names, values = list(columns), [scores]
    for metric in ("Dice", "SD"):
        mine = [i for i, column in enumerate(columns) if column.startswith(f"{metric}_") and column != "Dice_composite"]
        if mine and "Dice_composite" not in columns:
            names.append(f"{metric}_mean")
            values.append(scores[:, mine].mean(axis=1, keepdims=True))
    return names, np.concatenate(values, axis=1)
