"""Two systems' cross-validations compared: by case, by fold, and by the size of the lesions."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.atomic import write_text
from nnunet_kits.cases.splits import listed
from nnunet_kits.evaluation.compare import with_means
from nnunet_kits.evaluation.paired import FEWEST_FOR_BOOTSTRAP, Row, correct, paired_rows, warnings_of
from nnunet_kits.evaluation.scored import Scored, check_same
from nnunet_kits.evaluation.strata import BOUNDS_ML, checked_bounds, lesion_table, strata, stratum_of, tumor_ml
from nnunet_kits.evaluation.tables import row_of

GROUPED = ("Dice_tumor", "Dice_composite", "Dice_mean", "SD_mean")
"""Scores that are also told by fold and by size: those that the challenges rank by. More would be more tests."""

Comparison = dict[str, Any]
Groups = dict[str, list[int]]
"""Name of a group -> places of its cases."""


def compare_scored(
    first: Scored, second: Scored, resamplings: int = 10000, bounds_ml: Sequence[float] = tuple(BOUNDS_ML)
) -> Comparison:
    """Compare two systems over the cases that both were scored on.

    Args:
        first: scores of a system.
        second: of another.
        resamplings: of the tests, 1000 or more.
        bounds_ml: between strata of tumour volume.

    Returns:
        ``first``, ``second``: names; ``cases``: case -> ``fold`` of the first, ``tumor_ml`` of the reference, and
        score -> [first, second]; ``only_first``, ``only_second``: cases that only one has; ``scores``: score -> see
        :func:`nnunet_kits.evaluation.paired.paired_rows`; ``folds``: fold -> the same for some scores, where both have
        the same folds; ``sizes``: stratum of tumour volume -> the same; ``lesions``: see
        :func:`nnunet_kits.evaluation.strata.lesion_table`; ``false_tumors``: means a case, and in how many cases the
        second has ``fewer``, ``equal``, ``more``; ``bounds_ml``; ``notes``. Each table is corrected as one family of
        tests. With fewer cases than the bootstrap needs ``interval_95`` and ``p_bootstrap`` are None.

    Raises:
        EvaluationError: no case in common, other rules or references, bounds or resamplings that cannot be.
    """
    bounds = checked_bounds(bounds_ml)
    cases = [case for case in first.cases if case in second.cases]
    check_same(first, second, cases)
    only = [[case for case in a.cases if case not in b.cases] for a, b in ((first, second), (second, first))]
    notes = [
        f"only {s.name} has {listed(them)}: left out." for s, them in zip((first, second), only, strict=True) if them
    ]
    names, ours, theirs = _numbers(first, second, cases, notes)
    volumes = {case: tumor_ml(first.cases[case]) for case in cases}
    chosen = [i for i, name in enumerate(names) if name in GROUPED]

    def tables(groups: Groups) -> dict[str, dict[str, Row]]:
        found = {
            group: paired_rows(
                [names[i] for i in chosen], ours[np.ix_(places, chosen)], theirs[np.ix_(places, chosen)], resamplings
            )
            for group, places in groups.items()
        }
        correct(list(found.values()))
        return found

    found = {
        "scores": paired_rows(names, ours, theirs, resamplings),
        "folds": tables(_same_folds(first, second, cases, notes)),
        "sizes": tables(_by_size(list(volumes.values()), bounds, notes)),
        **_tumors(first, second, cases, bounds, resamplings),
    }
    notes += warnings_of(found["scores"])
    for table in (found["scores"], *found["folds"].values(), *found["sizes"].values()):
        _without_bootstrap_of_few(table)
    fold_of = {case: fold for fold, members in first.folds.items() for case in members}
    by_case = {
        case: {"fold": fold_of.get(case), "tumor_ml": volumes[case]}
        | {name: [float(ours[place, i]), float(theirs[place, i])] for i, name in enumerate(names)}
        for place, case in enumerate(cases)
    }
    parts = {
        "first": first.name,
        "second": second.name,
        "cases": by_case,
        "only_first": only[0],
        "only_second": only[1],
    }
    return {**parts, **found, "bounds_ml": bounds, "notes": notes}


def write_cases(path: Path, found: Comparison) -> None:
    """Write a line for each case as CSV: its fold, its tumours' volume, and each score of both systems."""
    cases: Mapping[str, Mapping[str, Any]] = found["cases"]
    scores = list(found["scores"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    sides = [f"{name}_{side}" for name in scores for side in ("first", "second", "difference")]
    writer.writerow(["case", "fold", "tumor_ml", *sides])
    for case, row in cases.items():
        numbers = [number for name in scores for number in (*row[name], row[name][1] - row[name][0])]
        volume = "" if row["tumor_ml"] is None else f"{row['tumor_ml']:.6f}"
        writer.writerow([case, row["fold"] or "", volume, *(f"{number:.8f}" for number in numbers)])
    write_text(path, text.getvalue())


def _numbers(
    first: Scored, second: Scored, cases: Sequence[str], notes: list[str]
) -> tuple[list[str], NDArray[np.float64], NDArray[np.float64]]:
    """Names of the scores that both have in all cases, and (cases, scores) of each."""
    rows = [[row_of(scored.cases[case]) for case in cases] for scored in (first, second)]
    columns = [name for name in rows[0][0] if all(name in row for side in rows for row in side)]
    if different := sorted({name for side in rows for name in side[0]} - set(columns)):
        notes.append(f"only one of them is scored by {', '.join(different)}: left out.")
    (names, ours), (_, theirs) = (
        with_means(np.array([[row[name] for name in columns] for row in side]), columns) for side in rows
    )
    return names, ours, theirs


def _by_size(volumes: Sequence[float | None], bounds: Sequence[float], notes: list[str]) -> Groups:
    """Places of the cases of each stratum of tumour volume."""
    groups: Groups = {name: [] for name in strata(bounds)}
    for place, volume in enumerate(volumes):
        if volume is None:
            notes.append("not all cases have a tumor label, so nothing is told by size.")
            return {}
        groups[stratum_of(volume, bounds)].append(place)
    return {name: places for name, places in groups.items() if places}


def _tumors(
    first: Scored, second: Scored, cases: Sequence[str], bounds: Sequence[float], resamplings: int
) -> dict[str, dict[str, Any]]:
    """Lesions that are detected, by their size, and false tumours a case; empty where there is no tumour label."""
    if not all("tumors" in scored.cases[case] for scored in (first, second) for case in cases):
        return {"lesions": {}, "false_tumors": {}}
    pairs = [(first.cases[case]["tumors"], second.cases[case]["tumors"]) for case in cases]
    counts = np.array([[len(tumors["false_positives"]) for tumors in pair] for pair in pairs], dtype=float)
    (row,) = paired_rows(["false_tumors"], counts[:, :1], counts[:, 1:], resamplings).values()
    kept = ("cases", "first", "second", "difference", "p_sign_flip", "smallest_p")
    words = {"fewer": row["worse"], "equal": row["equal"], "more": row["better"]}
    return {"lesions": lesion_table(pairs, bounds), "false_tumors": {key: row[key] for key in kept} | words}


def _same_folds(first: Scored, second: Scored, cases: Sequence[str], notes: list[str]) -> Groups:
    """Places of the cases of each fold, where both systems were validated by the same folds."""
    if not first.folds or not second.folds:
        notes.append("not both were scored by folds (evaluate --model does), so nothing is told by fold.")
        return {}
    sides = [
        {
            fold: [place for place, case in enumerate(cases) if case in set(members)]
            for fold, members in scored.folds.items()
        }
        for scored in (first, second)
    ]
    ours, theirs = ({fold: places for fold, places in side.items() if places} for side in sides)
    if ours != theirs:
        notes.append("their folds hold different cases, so nothing is told by fold.")
        return {}
    return ours


def _without_bootstrap_of_few(table: dict[str, Row]) -> None:
    for row in table.values():
        if row["cases"] < FEWEST_FOR_BOOTSTRAP:
            row["interval_95"] = row["p_bootstrap"] = None
