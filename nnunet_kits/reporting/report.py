"""One self-contained HTML file about a set of predictions."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits import __version__
from nnunet_kits.errors import ImageError
from nnunet_kits.geometry import canonical_spacing, to_canonical
from nnunet_kits.images import Volume, atomic_path, check_same_grid, read_volume
from nnunet_kits.reporting import page
from nnunet_kits.reporting.overlays import WINDOW_LEVEL_HU, WINDOW_WIDTH_HU, Case, render_planes, render_strip
from nnunet_kits.reporting.scores import ScoreTable, case_mean, volumes_ml

PICTURES = 40
"""Cases shown with pictures unless told otherwise; a case adds about half a megabyte."""


@dataclass(frozen=True)
class ReportCase:
    """One predicted case.

    Attributes:
        name: for example ``case_00003``.
        image: CT file.
        prediction: label map on the CT's grid.
        reference: label map on the same grid, or None.
        scores: region -> number, shown with the pictures; None where there is no reference.
    """

    name: str
    image: Path
    prediction: Path
    reference: Path | None = None
    scores: dict[str, float] | None = None


def write_report(
    path: Path,
    *,
    title: str,
    intro: str,
    facts: Sequence[tuple[str, str]],
    scores: ScoreTable | None,
    cases: Sequence[ReportCase],
    images: Sequence[tuple[str, Path]] = (),
    next_steps: Sequence[str] = (),
    pictures: int = PICTURES,
) -> None:
    """Write the report. The worst cases come first; all text is escaped; text between backticks is set as code.

    Args:
        path: the HTML file, replaced as a whole when the report is complete.
        title: heading.
        intro: one or more paragraphs.
        facts: what was run: (name, value).
        scores: numbers by case and region; None where there is no reference.
        cases: what was predicted; empty predictions are shown as such.
        images: (caption, PNG or JPEG file), for example training curves.
        next_steps: sentences or commands.
        pictures: at most so many cases, the worst, are shown with pictures; the table has all.

    Raises:
        ImageError: a file cannot be read, files of one case do not lie on one grid, or the report cannot be written.
    """
    if not path.parent.is_dir():
        raise ImageError(f"{path}: there is no folder {path.parent}. Make it, or choose another file for the report.")
    ordered = sorted(cases, key=lambda case: (case_mean(_scores_of(case, scores)), case.name))
    shown = ordered[: max(0, pictures)]
    volumes, sections = {}, []
    for index, case in enumerate(ordered):
        prediction = read_volume(case.prediction)
        reference = read_volume(case.reference) if case.reference else None
        if reference:
            check_same_grid(case.name, prediction, reference)
        volumes[case.name] = (
            volumes_ml(prediction.array, prediction.spacing_mm),
            volumes_ml(reference.array, reference.spacing_mm) if reference else None,
        )
        if index < len(shown):
            metric = scores.metric if scores else "Dice"
            sections.append(_case_section(case, _scores_of(case, scores), metric, prediction, reference))
    names = [case.name for case in ordered]
    text = page.document(
        title,
        [
            f"<header>\n<h1>{page.inline(title)}</h1>\n{page.paragraphs(intro)}\n</header>",
            page.section("What was run", page.facts_table(facts)),
            page.section("Scores and volumes", page.score_table(scores, volumes, names, [c.name for c in shown])),
            _cases(sections, len(ordered), any(case.reference for case in shown), scores is not None),
            page.section("Training", page.side_by_side(page.picture_file(caption, file) for caption, file in images)),
            page.section("What next", page.bullet_list(next_steps)),
            f"<footer>nnunet_kits {__version__}, {time.strftime('%Y-%m-%d %H:%M')}. "
            "Research software: not a medical device, not for diagnosis or treatment.</footer>",
        ],
    )
    _write(path, text)


def _scores_of(case: ReportCase, scores: ScoreTable | None) -> dict[str, float]:
    """The case's own numbers, or else its row of the table."""
    if case.scores is not None:
        return case.scores
    return dict(scores.cases.get(case.name, {})) if scores else {}


def _case_section(
    case: ReportCase, scores: dict[str, float], metric: str, prediction: Volume, reference: Volume | None
) -> str:
    image = read_volume(case.image)
    check_same_grid(case.name, image, prediction)
    shown = Case(
        to_canonical(image.array, image.affine),
        to_canonical(prediction.array, image.affine),
        to_canonical(reference.array, image.affine) if reference else None,
        canonical_spacing(image.affine),
    )
    notes = [] if (shown.prediction > 0).any() else ["The prediction is empty."]
    notes += [] if reference else ["There is no reference."]
    return "\n".join(
        [
            f'<article class="case" id="{page.anchor(case.name)}">\n<h3>{page.inline(case.name)}</h3>',
            page.score_line(scores, metric),
            page.paragraphs(" ".join(notes)),
            page.picture(render_planes(shown), f"{case.name}: three planes through the largest lesion"),
            page.picture(render_strip(shown), f"{case.name}: axial slices, above CT alone, below with overlay"),
            "</article>",
        ]
    )


def _cases(sections: Sequence[str], total: int, outlines: bool, scored: bool) -> str:
    """The cases' sections under one heading with the legend."""
    if not sections:
        return ""
    explanation = (
        "Each case: three planes through its largest lesion, then axial slices from head to feet, above CT alone, "
        "below with overlay. The patient's right is on the left of axial and coronal planes. Slices are counted from "
        f"the head, the front and the right. Window: level {WINDOW_LEVEL_HU:.0f}, width {WINDOW_WIDTH_HU:.0f} HU."
    )
    if len(sections) < total:
        which = "The worst" if scored else "The first"
        explanation += f" {which} {len(sections)} of {total} cases are shown."
    return page.section("Cases", page.paragraphs(explanation), page.legend(outlines), *sections)


def _write(path: Path, text: str) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be written ({error.strerror}). Choose another file for the report."
        ) from error
