"""The challenge's ranking of systems."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.atomic import write_text
from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.tables import check_same_cases, read_csv

COLUMNS = ("team_name", "final_rank", "mean_rank", "mean_dice", "mean_sd", "tumor_dice")


def rank_systems(systems: Sequence[Path]) -> list[dict[str, Any]]:
    """Rank systems as KiTS21 and KiTS23 do: by mean Dice and by mean surface Dice, then by the mean of both ranks.

    Systems that tie are ordered by their tumor Dice; those that tie there too share a rank. KiTS19 has no surface
    Dice: there the mean of the kidney and the tumor Dice alone ranks, ties are treated the same.

    Args:
        systems: one folder a system, with its ``evaluation.csv``, or the file itself; the folders' names are the
            systems' names.

    Returns:
        Best first, each with the keys of :data:`COLUMNS`; without ``mean_sd`` for KiTS19.

    Raises:
        EvaluationError: a missing or foreign file, equal names, or systems scored on different cases.

    Source: ``evaluation/ranking.py`` of neheller/kits21 and neheller/kits23.
    """
    names = [(system.resolve() if system.is_dir() else system.resolve().parent).name for system in systems]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise EvaluationError(f"{', '.join(double)}: two systems have this name. Rename one of the folders.")
    tables = [read_csv(system) for system in systems]
    check_same_cases(systems, tables)
    rows = [_means(name, table["average"]) for name, table in zip(names, tables, strict=True)]
    keys = [key for key in ("mean_dice", "mean_sd") if key in rows[0]]
    for row in rows:
        row["mean_rank"] = sum(_rank(row, rows, key) for key in keys) / len(keys)
    for row in rows:
        mine = (row["mean_rank"], -row["tumor_dice"])
        row["final_rank"] = 1 + sum((other["mean_rank"], -other["tumor_dice"]) < mine for other in rows)
    return sorted(rows, key=lambda row: int(row["final_rank"]))


def write_ranking(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the challenge's ranking file."""
    columns = [column for column in COLUMNS if column in rows[0]]
    written = {"team_name": "{}", "final_rank": "{}", "mean_rank": "{:.4f}"}
    lines = [",".join(columns)]
    lines += [",".join(written.get(column, "{:.8f}").format(row[column]) for column in columns) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def _means(name: str, averages: Mapping[str, float]) -> dict[str, Any]:
    """A system's name and the numbers that it is ranked by."""
    row: dict[str, Any] = {"team_name": name, "tumor_dice": averages["Dice_tumor"]}
    for key, prefix in (("mean_dice", "Dice_"), ("mean_sd", "SD_")):
        values = [v for column, v in averages.items() if column.startswith(prefix) and column != "Dice_composite"]
        if values:
            row[key] = float(np.mean(values))  # sum() rounds in another way from Python 3.12 on, and systems tie or not
    return row


def _rank(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], key: str) -> int:
    """1 plus the number of better systems."""
    return 1 + sum(bool(other[key] > row[key]) for other in rows)
