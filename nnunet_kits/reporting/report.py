"""One self-contained HTML file about a case or a study: scores, sizes, pictures, training, what was run."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from nnunet_kits import __version__
from nnunet_kits.atomic import atomic_path, write_text
from nnunet_kits.batch import run_cases
from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.releases import DEFAULT_YEAR
from nnunet_kits.reporting import charts, page, tables
from nnunet_kits.reporting.overlays import (
    WINDOW_LEVEL_HU,
    WINDOW_WIDTH_HU,
    render_planes,
    render_slices,
    render_strip,
)
from nnunet_kits.reporting.study import Finding, ReportCase, examine, load_case
from nnunet_kits.reporting.training_log import TrainedModel

PICTURES = 40
"""Cases shown with pictures unless told otherwise; a case adds one to two megabytes."""

FEWEST_FOR_CHARTS = 2


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
    workers: int = 1,
    say: Callable[[str], None] = lambda _: None,
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
        workers: processes.
        say: takes a line for each case.

    Returns:
        Case -> its scores and measures, the worst first.

    Raises:
        KitsError: a file cannot be read, files of one case do not lie on one grid, or the report cannot be written.
    """
    if not path.parent.is_dir():
        raise ImageError(f"{path}: there is no folder {path.parent}. Make it, or choose another file for the report.")
    findings = examine_all(cases, year, workers, say)
    by_name = {case.name: case for case in cases}
    shown = [by_name[name] for name in findings][: max(0, pictures)]
    sections = _sections({case.name: (case, findings[case.name]) for case in shown}, workers, say)
    scored = [found.scores for found in findings.values() if found.scores is not None]
    linked = [case.name for case in shown]
    every = [(name, value) for model in models for name, value in model.facts]
    text = page.document(
        title,
        [
            f"<header>\n<h1>{page.inline(title)}</h1>\n{page.paragraphs(intro)}\n</header>",
            page.section("Scores", _charts(scored), tables.score_table(findings, linked)),
            page.section("Sizes", _sizes_explained(findings), tables.size_table(findings, linked)),
            _cases(sections, len(findings), any(case.reference for case in shown)),
            page.section("Training", *(_training(model) for model in models)),
            page.section("What was run", page.facts_table([*facts, *every])),
            f"<footer>nnunet_kits {__version__}, {time.strftime('%Y-%m-%d %H:%M')}. "
            "Research software: not a medical device, not for diagnosis or treatment.</footer>",
        ],
    )
    _write(path, text)
    return findings


def write_pictures(
    folder: Path, cases: Sequence[ReportCase], workers: int = 1, say: Callable[[str], None] = lambda _: None
) -> None:
    """Write ``<case>_planes.png`` and ``<case>_slices.png`` of each case.

    Raises:
        KitsError: a file cannot be read, files of one case do not lie on one grid, or a picture cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{folder}: cannot be made ({error.strerror}). Choose another folder.") from error
    for name, outcome in run_cases(partial(_draw, folder=folder), {case.name: case for case in cases}, workers):
        _raised(outcome)
        say(f"{name}: pictures")


def examine_all(cases: Sequence[ReportCase], year: str, workers: int, say: Callable[[str], None]) -> dict[str, Finding]:
    """Score and measure all cases; the worst first, those without a reference last."""
    findings: dict[str, Finding] = {}
    for name, outcome in run_cases(examine, {case.name: (case, year) for case in cases}, workers):
        findings[name] = _raised(outcome)
        say(f"{name}: measured" if findings[name].scores is None else f"{name}: scored and measured")
    return dict(sorted(findings.items(), key=lambda item: (item[1].mean_score(), item[0])))


def _raised(outcome: object) -> "Finding":
    """What a worker returned; its error is raised."""
    if isinstance(outcome, KitsError):
        raise outcome
    return outcome  # type: ignore[return-value]


def _sections(shown: Mapping[str, tuple[ReportCase, Finding]], workers: int, say: Callable[[str], None]) -> list[str]:
    """The cases' sections, in order."""
    sections: dict[str, str] = {}
    for name, outcome in run_cases(_case_section, shown, workers):
        if isinstance(outcome, KitsError):
            raise outcome
        sections[name] = outcome
        say(f"{name}: pictures")
    return [sections[name] for name in shown]


def _case_section(task: tuple[ReportCase, Finding]) -> str:
    """Pictures and measures of one case."""
    case, found = task
    shown, predicted, true = load_case(case)
    slices = (
        (
            page.picture(plain, f"{case.name}: axial slice {place + 1}", "JPEG"),
            page.picture(overlay, f"{case.name}: axial slice {place + 1} with overlay", "JPEG"),
        )
        for place, plain, overlay in render_slices(shown)
    )
    return "\n".join(
        [
            f'<article class="case" id="{page.anchor(case.name)}">\n<h3>{page.inline(case.name)}</h3>',
            tables.case_lines(found),
            page.picture(render_planes(shown), f"{case.name}: three planes through the largest lesion"),
            page.strip(page.anchor(case.name), slices),
            tables.measure_table(predicted, true),
            "</article>",
        ]
    )


def _draw(case: ReportCase, folder: Path) -> None:
    """The pictures of one case as files."""
    shown, *_ = load_case(case)
    for name, image in (("planes", render_planes(shown)), ("slices", render_strip(shown))):
        path = folder / f"{case.name}_{name}.png"
        try:
            with atomic_path(path) as temporary:
                image.save(temporary, "PNG")
        except OSError as error:
            raise ImageError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error


def _charts(scored: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Box plots of Dice and of surface Dice."""
    if len(scored) < FEWEST_FOR_CHARTS:
        return ""
    explanation = "A point is a case, the diamond their mean."
    if len(scored) >= charts.FEWEST_FOR_A_BOX:
        explanation += " The box holds the middle half of the cases, the thick line is their median."
    plots = [
        charts.box_plots(title, {name: [scores[kind][name] for scores in scored] for name in scored[0][kind]})
        for kind, title in tables.SCORES.items()
        if scored[0][kind]
    ]
    return page.side_by_side(plots) + page.paragraphs(explanation)


def _sizes_explained(findings: Mapping[str, Finding]) -> str:
    if not findings:
        return ""
    return page.paragraphs(
        "Kidneys with their tumors and cysts, by the patient's side. The size of a tumor is its largest diameter "
        "within an axial plane. A connected component counts as one lesion."
    )


def _training(model: TrainedModel) -> str:
    """Curves of a model's folds."""
    if not model.histories:
        return page.paragraphs(f"`{model.name}`: it has no training log.")
    curves = page.side_by_side([charts.loss_curves(model.histories), charts.dice_curves(model.histories)])
    return f"<h3>{page.inline(model.name)}</h3>\n{charts.fold_legend(model.histories)}{curves}"


def _cases(sections: Sequence[str], total: int, outlines: bool) -> str:
    """The cases' sections under one heading with the legend."""
    if not sections:
        return ""
    explanation = (
        "Each case: three planes through its largest lesion, then axial slices from head to feet to scroll through. "
        "The patient's right is on the left of axial and coronal planes. Slices are counted from the head, the front "
        f"and the right. Window: level {WINDOW_LEVEL_HU:.0f}, width {WINDOW_WIDTH_HU:.0f} HU."
    )
    if len(sections) < total:
        explanation += f" The {'worst' if outlines else 'first'} {len(sections)} of {total} cases are shown."
    return page.section("Cases", page.paragraphs(explanation), page.legend(outlines), *sections)


def _write(path: Path, text: str) -> None:
    try:
        write_text(path, text)
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be written ({error.strerror}). Choose another file for the report."
        ) from error
