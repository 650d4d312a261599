"""The challenges' ``evaluation.csv``: one line a case, and their average."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.errors import EvaluationError

FILE = "evaluation.csv"
COLUMNS = {"kidney_and_mass": "kidney", "mass": "masses", "tumor": "tumor"}
"""HEC -> its name in the challenges' files."""

Row = dict[str, float]


def row_of(scores: Mapping[str, Any]) -> Row:
    """One case's numbers: column -> number, in the challenges' order.

    KiTS19's code writes no file: its columns are the two Dice that it returns and, as the challenge ranked, their mean.
    """
    row = {f"Dice_{COLUMNS[name]}": value for name, value in scores["dice"].items()}
    row |= {f"SD_{COLUMNS[name]}": value for name, value in scores["surface_dice"].items()}
    if not scores["surface_dice"]:
        row["Dice_composite"] = sum(row.values()) / len(row)
    return row


def average(rows: Sequence[Row]) -> Row:
    """Mean of every column."""
    return {column: sum(row[column] for row in rows) / len(rows) for column in rows[0]}


def write_csv(path: Path, scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the challenges' file: eight decimals, the average in the last line, which does not end.

    Source: ``evaluation/metrics.py`` of neheller/kits21 and neheller/kits23.
    """
    rows = {case: row_of(found) for case, found in scores.items()}
    lines = [",".join(["caseID", *next(iter(rows.values()))])]
    for case, row in (rows | {"average": average(list(rows.values()))}).items():
        lines.append(",".join([case, *(f"{value:.8f}" for value in row.values())]))
    write_text(path, "\n".join(lines))


def read_csv(path: Path) -> dict[str, Row]:
    """Case, and ``average`` -> column -> number.

    Args:
        path: an ``evaluation.csv``, the challenge's own too, or the folder that holds it.

    Raises:
        EvaluationError: there is none, or it is not the challenges'.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise EvaluationError(f"{path}: holds no {FILE}. Run nnunet_kits evaluate on its predictions first.")
    header, *lines = [line.split(",") for line in file.read_text(encoding="utf-8").splitlines() if line] or [[""]]
    if header[0] != "caseID" or len(lines) < 2 or lines[-1][0] != "average":
        raise EvaluationError(f"{file}: not the challenges' format, caseID,... to average,... . Evaluate again.")
    try:
        return {line[0]: dict(zip(header[1:], map(float, line[1:]), strict=True)) for line in lines}
    except ValueError as error:
        raise EvaluationError(f"{file}: a line does not fit the header ({error}). Evaluate again.") from error


def check_same_cases(paths: Sequence[Path], tables: Sequence[Mapping[str, Row]]) -> None:
    """Refuse systems that were scored on different cases or by different metrics.

    Raises:
        EvaluationError: naming what differs.
    """
    for path, table in zip(paths, tables, strict=True):
        if different := sorted(set(table) ^ set(tables[0])):
            raise EvaluationError(
                f"{path} and {paths[0]} were scored on different cases: {', '.join(different[:5])}. "
                "Evaluate both on the same references."
            )
        if list(table["average"]) != list(tables[0]["average"]):
            raise EvaluationError(f"{path} and {paths[0]} have different columns. Evaluate both with the same --year.")
