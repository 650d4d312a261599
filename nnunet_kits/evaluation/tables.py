"""The challenges' ``evaluation.csv``, and statistics over its cases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.errors import EvaluationError
from nnunet_kits.images import atomic_path

COLUMNS = {"kidney_and_mass": "kidney", "mass": "masses", "tumor": "tumor"}
"""HEC -> its name in the challenges' files."""

SEED = 20230917
"""Of the resampling, so that an interval can be had again."""


def columns(scores: Mapping[str, Any], year: str) -> dict[str, float]:
    """One case's row: column -> number, in the challenges' order; KiTS19 has its composite instead of surface Dice."""
    row = {f"Dice_{COLUMNS[name]}": value for name, value in scores["dice"].items()}
    row |= {f"SD_{COLUMNS[name]}": value for name, value in scores["surface_dice"].items()}
    if year == "19":
        row["Dice_composite"] = float(np.mean(list(scores["dice"].values())))
    return row


def write_csv(path: Path, scores: Mapping[str, Mapping[str, Any]], year: str) -> None:
    """Write ``evaluation.csv`` as the challenges' code does: eight decimals, the average in the last line."""
    rows = {case: columns(found, year) for case, found in scores.items()}
    names = list(next(iter(rows.values())))
    means = [float(np.mean([row[name] for row in rows.values()])) for name in names]
    lines = [",".join(["caseID", *names])]
    lines += [",".join([case, *(f"{row[name]:.8f}" for name in names)]) for case, row in rows.items()]
    lines.append(",".join(["average", *(f"{mean:.8f}" for mean in means)]))
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines))


def read_csv(folder: Path) -> dict[str, dict[str, float]]:
    """Case (and ``average``) -> column -> number, from a folder's ``evaluation.csv``.

    Raises:
        EvaluationError: there is none, or it is not the challenges'.
    """
    path = folder / "evaluation.csv" if folder.is_dir() else folder
    if not path.is_file():
        raise EvaluationError(f"{folder}: holds no evaluation.csv. Run nnunet_kits evaluate on it first.")
    header, *lines = [line.split(",") for line in path.read_text().splitlines() if line]
    if header[0] != "caseID" or not lines or lines[-1][0] != "average":
        raise EvaluationError(f"{path}: is not the challenges' format (caseID,... to average,...). Evaluate again.")
    try:
        return {line[0]: dict(zip(header[1:], map(float, line[1:]), strict=True)) for line in lines}
    except ValueError as error:
        raise EvaluationError(f"{path}: a line does not fit the header ({error}). Evaluate again.") from error


def interval(values: Sequence[float], resamplings: int) -> list[float]:
    """95 % percentile bootstrap interval of the mean over cases: [lower, upper]."""
    given = np.asarray(values, dtype=float)
    drawn = np.random.default_rng(SEED).integers(0, len(given), (resamplings, len(given)))
    return [float(q) for q in np.quantile(given[drawn].mean(1), (0.025, 0.975))]
