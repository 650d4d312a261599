"""How far trainings and recipes are, as one page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.reporting.charts import training_curves
from nnunet_kits.reporting.page import render_sections
from nnunet_kits.reporting.tables import Row, Table
from nnunet_kits.status import words
from nnunet_kits.status.folds import Fold
from nnunet_kits.status.overview import Overview
from nnunet_kits.status.runs import Run

WORDS = ("state", "what")
"""Columns that are no numbers."""


def write_status(path: Path, overview: Overview) -> None:
    """Write the page: folds, steps of recipes, and the curves of every model.

    Args:
        path: the HTML file, replaced as a whole.
        overview: what is told.

    Raises:
        OSError: it cannot be written.
    """
    told = f"{words.summary(overview)}.\n\n{words.explained()}"
    write_text(path, render_sections(f"Trainings below `{overview.root}`", told, _sections(overview)))


def _sections(overview: Overview) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Title of every section, and (kind, content) of what is in it."""
    models = list(words.by_model(overview.folds))
    if models:
        rows = [row for name, folds in models for row in (Row(name, kind="group"), *_fold_rows(folds))]
        yield "Folds", [("table", Table("Folds", ["fold", *words.COLUMNS], rows, words=WORDS))]
    for run in overview.runs:
        told = "; ".join([f"`{run.folder}`, {words.run_summary(run)}", *run.remarks])
        yield f"Recipe {run.recipe}", [("text", f"{told}."), ("table", _step_table(run))]
    histories = [(name, {fold.name: fold.history for fold in folds if fold.history.done}) for name, folds in models]
    curves = [(name, drawn) for name, trained in histories if (drawn := training_curves(trained))]
    if curves:
        yield "Curves", [("models", curves)]


def _fold_rows(folds: list[Fold]) -> Iterator[Row]:
    for fold in folds:
        yield Row(fold.name, [text(fold) for text in words.COLUMNS.values()])
        if notes := words.notes(fold):
            yield Row("; ".join(notes), kind="remark")


def _step_table(run: Run) -> Table:
    rows = [Row(step.name, [step.state, words.step_note(step)]) for step in run.steps]
    return Table(f"Steps of {run.recipe}", ["step", "state", "what"], rows, words=WORDS)
