"""Whether one system is better than another on the same cases."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.statistics import interval_95, resampled_means
from nnunet_kits.evaluation.tables import check_same_cases, read_csv

FEWEST = 1000


def compare_systems(first: Path, second: Path, resamplings: int = 10000) -> dict[str, dict[str, Any]]:
    """Compare two systems case by case.

    Args:
        first: folder with an ``evaluation.csv``, or the file.
        second: another, of the same cases.
        resamplings: of the paired bootstrap, 1000 or more.

    Returns:
        Column of ``evaluation.csv``, and for each metric its mean over HECs (``Dice_mean``, ``SD_mean``) ->
        ``first`` and ``second``: means over cases; ``difference``: second - first; ``interval_95`` of it;
        ``p_bootstrap`` and ``p_wilcoxon``: two-sided, that there is no difference; ``better``, ``equal``, ``worse``:
        in how many cases the second is.

    Raises:
        EvaluationError: a missing file, different cases or columns, or too few resamplings.

    Source: Wilcoxon 1945, doi:10.2307/3001968 (signed ranks; zero differences are left out); for the bootstrap
    :func:`nnunet_kits.evaluation.statistics.resampled_means`.
    """
    if resamplings < FEWEST:
        raise EvaluationError(f"{resamplings} resamplings are too few for a test. Take {FEWEST} or more.")
    tables = [read_csv(first), read_csv(second)]
    check_same_cases((first, second), tables)
    cases = [case for case in tables[0] if case != "average"]
    columns = list(tables[0]["average"])
    a, b = (
        _with_means(np.array([[table[c][column] for column in columns] for c in cases]), columns) for table in tables
    )
    differences = np.round(b[1] - a[1], 12)  # scores have eight decimals, so what is smaller is rounding
    means = resampled_means(differences, resamplings)
    return {
        name: {
            "first": float(a[1][:, i].mean()),
            "second": float(b[1][:, i].mean()),
            "difference": float(differences[:, i].mean()),
            "interval_95": interval_95(means[:, i]),
            "p_bootstrap": _p_bootstrap(means[:, i]),
            "p_wilcoxon": _p_wilcoxon(differences[:, i]),
            "better": int((differences[:, i] > 0).sum()),
            "equal": int((differences[:, i] == 0).sum()),
            "worse": int((differences[:, i] < 0).sum()),
        }
        for i, name in enumerate(a[0])
    }


def _with_means(scores: NDArray[np.float64], columns: list[str]) -> tuple[list[str], NDArray[np.float64]]:
    """The columns and, for each metric of several HECs, their mean."""
    names, values = list(columns), [scores]
    for metric in ("Dice", "SD"):
        mine = [i for i, column in enumerate(columns) if column.startswith(f"{metric}_") and column != "Dice_composite"]
        if mine and "Dice_composite" not in columns:
            names.append(f"{metric}_mean")
            values.append(scores[:, mine].mean(axis=1, keepdims=True))
    return names, np.concatenate(values, axis=1)


def _p_bootstrap(means: NDArray[np.float64]) -> float:
    """Two-sided p of no difference: how rarely the resampled mean lies on the other side of 0."""
    rarer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(means) + 1))


def _p_wilcoxon(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0."""
    from scipy.stats import wilcoxon

    apart = differences[differences != 0]
    return float(wilcoxon(apart).pvalue) if len(apart) else 1.0
