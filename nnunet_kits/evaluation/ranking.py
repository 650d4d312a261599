"""The challenge's ranking of systems, and a paired comparison of two."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.tables import interval, read_csv
from nnunet_kits.images import atomic_path


def rank_systems(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Rank systems as KiTS23 does: by mean Dice and by mean surface Dice, then by the mean of both ranks.

    Systems that tie are ordered by their tumor Dice; those that tie there too share a rank.

    Args:
        folders: one a system, with its ``evaluation.csv``; their names are the systems' names.

    Returns:
        Best first: ``team_name``, ``final_rank``, ``mean_rank``, ``mean_dice``, ``mean_sd``, ``tumor_dice``.

    Raises:
        EvaluationError: a missing or foreign file, equal names, or systems scored on different cases.

    Source: ``evaluation/ranking.py`` of neheller/kits23.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise EvaluationError(f"{', '.join(sorted(names))}: two systems have one name. Rename a folder.")
    tables = [read_csv(folder) for folder in folders]
    _same_cases(folders, tables)
    averages = [table["average"] for table in tables]
    dice = np.array([np.mean([v for k, v in row.items() if k.startswith("Dice_")]) for row in averages])
    surface = [[v for k, v in row.items() if k.startswith("SD_")] for row in averages]
    if any(not row for row in surface):
        raise EvaluationError("The ranking needs surface Dice, which KiTS19's evaluation has not. Use --year 21 or 23.")
    sd = np.array([np.mean(row) for row in surface])
    tumor = np.array([row["Dice_tumor"] for row in averages])
    ranks = np.stack([stats.rankdata(-values, "min") for values in (dice, sd)], 1)
    mean_rank = ranks.mean(1)
    final = _untied(mean_rank, tumor)
    order = np.argsort(final, kind="stable")
    return [
        {
            "team_name": names[i],
            "final_rank": int(final[i]),
            "mean_rank": float(mean_rank[i]),
            "mean_dice": float(dice[i]),
            "mean_sd": float(sd[i]),
            "tumor_dice": float(tumor[i]),
        }
        for i in order
    ]


def _untied(mean_rank: NDArray[np.float64], tumor: NDArray[np.float64]) -> NDArray[np.intp]:
    """Ranks by mean rank, equal ones by tumor Dice."""
    keys = list(zip(mean_rank.tolist(), (-tumor).tolist(), strict=True))
    return np.array([1 + sum(other < key for other in keys) for key in keys])


def _same_cases(folders: Sequence[Path], tables: Sequence[dict[str, dict[str, float]]]) -> None:
    for folder, table in zip(folders, tables, strict=True):
        different = set(table) ^ set(tables[0])
        if different:
            raise EvaluationError(
                f"{folder} and {folders[0]} were scored on different cases: {', '.join(sorted(different)[:5])}. "
                "Evaluate both on the same references."
            )


def write_ranking(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the challenge's ranking file."""
    lines = ["team_name,final_rank,mean_rank,mean_dice,mean_sd,tumor_dice"]
    for row in rows:
        lines.append(
            f"{row['team_name']},{row['final_rank']},{row['mean_rank']:.4f},{row['mean_dice']:.8f},"
            f"{row['mean_sd']:.8f},{row['tumor_dice']:.8f}"
        )
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def compare_systems(first: Path, second: Path, resamplings: int = 10000) -> dict[str, dict[str, Any]]:
    """Compare two systems case by case.

    Args:
        first: folder with an ``evaluation.csv``.
        second: another, of the same cases.
        resamplings: of the bootstrap.

    Returns:
        Column -> means of both, mean difference (second - first), its 95 % bootstrap interval, and the p of the
        two-sided Wilcoxon signed-rank test (1 where all differences are 0).

    Raises:
        EvaluationError: a missing file or different cases.
    """
    tables = [read_csv(first), read_csv(second)]
    _same_cases([first, second], tables)
    found = {}
    for column in tables[0]["average"]:
        a, b = (np.array([row[column] for case, row in t.items() if case != "average"]) for t in tables)
        difference = b - a
        p = float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0
        found[column] = {
            "first": float(a.mean()),
            "second": float(b.mean()),
            "difference": float(difference.mean()),
            "interval_95": interval(difference.tolist(), resamplings),
            "p_wilcoxon": p,
        }
    return found
