"""One self-contained HTML file about a case or a study: scores, sizes, pictures, training, what was run."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from nnunet_kits.atomic import write_text
from nnunet_kits.cases.parallel import run_all, with_progress
from nnunet_kits.errors import ImageError
from nnunet_kits.evaluation.case import protocol_of
from nnunet_kits.evaluation.cross_validation import compare_scored
from nnunet_kits.evaluation.scored import Scored
from nnunet_kits.releases import DEFAULT_YEAR
from nnunet_kits.reporting.content import Study
from nnunet_kits.reporting.page import render
from nnunet_kits.reporting.pictures import draw_case, write_case
from nnunet_kits.reporting.study import Finding, ReportCase, examine
from nnunet_kits.reporting.trained_model import TrainedModel

logger = logging.getLogger(__name__)

PICTURES = 40
"""Cases shown with pictures unless told otherwise; a case adds one to two megabytes, and its viewer."""

VIEWER_MB, VIEWERS_MB = 6.0, 120.0
"""Megabytes of the page that the viewer of a case, and those of all cases, take unless told otherwise."""

Task = TypeVar("Task")
Result = TypeVar("Result")


def write_report(
    path: Path,
    *,
    title: str,
    intro: str,
    cases: Sequence[ReportCase],
    year: str = DEFAULT_YEAR,
    facts: Sequence[tuple[str, str]] = (),
    models: Sequence[TrainedModel] = (),
    pictures: int = PICTURES,
    viewer_mb: float | None = None,
    workers: int = 1,
    other: Scored | None = None,
) -> dict[str, Finding]:
    """Write the report. The worst cases come first; all text is escaped; text between backticks is set as code.

    Args:
        path: the HTML file, replaced as a whole when the report is complete.
        title: heading.
        intro: one or more paragraphs.
        cases: what was predicted; empty predictions are shown as such.
        year: for the tolerances of the surface Dice.
        facts: what was run: (name, value).
        models: what was trained.
        pictures: at most so many cases, the worst, are shown with pictures; the tables have all.
        viewer_mb: megabytes of the page for the viewer of each of them; 0 for no viewer, None for :data:`VIEWER_MB`,
            or less where :data:`VIEWERS_MB` are not enough for all.
        workers: processes.
        other: scores of another system, to compare these predictions with.

    Returns:
        Case -> its scores and measures, the worst first.

    Raises:
        KitsError: a file cannot be read, files of one case do not lie on one grid, the other system was scored by other
            rules or references, or the report cannot be written.
    """
    if not path.parent.is_dir():
        raise ImageError(f"{path}: there is no folder {path.parent}. Make it, or choose another file for the report.")
    by_name = {case.name: case for case in cases}
    tasks = {name: (case, year) for name, case in by_name.items()}
    found = dict(_run(examine, tasks, workers, lambda one: "measured" if one.scores is None else "scored and measured"))
    findings = dict(sorted(found.items(), key=lambda item: (item[1].mean_score(), item[0])))
    compared = None if other is None else compare_scored(other, _scored(findings, year))
    shown = {name: by_name[name] for name in [*findings][: max(0, pictures)]}
    each_mb = min(VIEWER_MB, VIEWERS_MB / max(1, len(shown))) if viewer_mb is None else viewer_mb
    drawn = dict(_run(partial(draw_case, viewer_mb=each_mb), shown, workers, lambda _: "pictures"))
    study = Study(findings, {name: drawn[name] for name in shown}, models, facts, compared)
    try:
        write_text(path, render(title, intro, study))
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be written ({error.strerror}). Choose another file for the report."
        ) from error
    return findings


def _scored(findings: Mapping[str, Finding], year: str) -> Scored:
    """What the report's own scores are, to be compared."""
    protocol = protocol_of(year)
    cases = {case: found.scores for case, found in findings.items() if found.scores is not None}
    return Scored("these predictions", cases, {"year": protocol.year, "tolerances_mm": dict(protocol.tolerances_mm)})


def write_pictures(folder: Path, cases: Sequence[ReportCase], workers: int = 1) -> None:
    """Write ``<case>_planes.png`` and ``<case>_slices.png`` of each case.

    Raises:
        KitsError: a file cannot be read, files of one case do not lie on one grid, or a picture cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{folder}: cannot be made ({error.strerror}). Choose another folder.") from error
    named = {case.name: case for case in cases}
    for _ in _run(partial(write_case, folder=folder), named, workers, lambda _: "pictures"):
        pass


def _run(
    function: Callable[[Task], Result],
    tasks: Mapping[str, Task],
    workers: int,
    done: Callable[[Result], str],
) -> Iterator[tuple[str, Result]]:
    """:func:`nnunet_kits.cases.parallel.run_all`, that says what is done."""
    for name, outcome in with_progress(run_all(function, tasks, workers), len(tasks), "report", lines=False):
        logger.info(f"{name}: {done(outcome)}")
        yield name, outcome
