"""The tables that papers print: every score of every class and label, fold by fold, with means and deviations."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.atomic import write_text

FILE = "tables.csv"
KINDS: Mapping[str, tuple[str, ...]] = {
    "dice": ("dice", "label_dice"),
    "surface_dice": ("surface_dice", "label_surface_dice"),
    "precision": ("precision",),
    "recall": ("recall",),
    "slice_dice": ("slice_dice",),
}
"""Score -> where a case has it, by class or label."""
OVER_SLICES = "all_slices_dice"
"""The score that is a mean over slices and not over cases."""

Row = dict[str, Any]


def tables_of(groups: Mapping[str, Sequence[Mapping[str, Any]]], folds: Sequence[str]) -> list[Row]:
    """One row for each score of each class or label.

    Args:
        groups: name -> scores of its cases, from :func:`nnunet_kits.evaluation.metrics.score_case` with ``slices``.
        folds: the groups that are folds, over which there is a mean.

    Returns:
        Each with ``class``, ``score``, the mean over the cases of each group by its name, ``folds_mean`` and
        ``folds_sd`` over the folds' means, ``cases_mean`` and ``cases_sd`` over all cases. Deviations are those of a
        sample (n - 1); None where there is none. For :data:`OVER_SLICES` a group's mean, and ``cases_mean``, are over
        all slices of its cases.
    """
    cases = [case for group in groups.values() for case in group]
    rows = []
    for name, score in _names(cases[0]):
        means = {group: _mean(name, score, members) for group, members in groups.items()}
        of_folds = [means[fold] for fold in folds]
        row: Row = {"class": name, "score": score, **(means if len(groups) > 1 or folds else {})}
        if folds:
            row |= {"folds_mean": float(np.mean(of_folds)), "folds_sd": _deviation(of_folds)}
        of_cases = [] if score == OVER_SLICES else [_of(case, name, score) for case in cases]
        rows.append(row | {"cases_mean": _mean(name, score, cases), "cases_sd": _deviation(of_cases)})
    return rows


def write_tables(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV: eight decimals, nothing where there is no number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([f"{value:.8f}" if isinstance(value, float) else value for value in row.values()])
    write_text(path, text.getvalue())


def as_lines(rows: Sequence[Row]) -> list[str]:
    """The rows as text, each number with its deviation."""
    groups = [key for key in rows[0] if key not in ("class", "score") and not key.endswith(("_mean", "_sd"))]
    means = [key for key in ("folds", "cases") if f"{key}_mean" in rows[0]]
    lines = [f"{'class':16}{'score':16}" + "".join(f"{g:>10}" for g in groups) + "".join(f"{m:>20}" for m in means)]
    for row in rows:
        numbers = [f"{row[group]:10.4f}" for group in groups]
        for mean in means:
            deviation = row[f"{mean}_sd"]
            shown = f"{row[f'{mean}_mean']:.4f}" + ("" if deviation is None else f" +- {deviation:.4f}")
            numbers.append(f"{shown:>20}")
        lines.append(f"{row['class']:16}{row['score']:16}" + "".join(numbers))
    return lines


def _names(case: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Class or label, and score, of what a case has."""
    names = list(case["precision"])
    found = [(name, score) for score in KINDS for name in names if any(name in case[key] for key in KINDS[score])]
    return [*found, *((name, OVER_SLICES) for name in names)]


def _of(case: Mapping[str, Any], name: str, score: str) -> float:
    return next(float(case[key][name]) for key in KINDS[score] if name in case[key])


def _mean(name: str, score: str, cases: Sequence[Mapping[str, Any]]) -> float:
    if score == OVER_SLICES:
        slices = [case["slices"] for case in cases]
        return float(np.average([case["slice_dice"][name] for case in cases], weights=slices))
    return float(np.mean([_of(case, name, score) for case in cases]))


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None
