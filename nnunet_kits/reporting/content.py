"""What stands on the page and in which order, as data: the layout says what fills each section, and its kind.

The template has a macro for each kind. Text is plain here: it is escaped where it meets markup, in the template.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from nnunet_kits.palette import DIFFERENCE_COLOURS, LABEL_COLOURS, LABEL_NAMES, css
from nnunet_kits.reporting import comparison, figures
from nnunet_kits.reporting.charts import Chart, chart, training_curves
from nnunet_kits.reporting.pictures import CasePictures
from nnunet_kits.reporting.shading import FILL, WINDOW_LEVEL_HU, WINDOW_WIDTH_HU, WINDOWS_HU, legend_colours
from nnunet_kits.reporting.study import Finding
from nnunet_kits.reporting.tables import SCORES, Table, check_table, measure_table, score_table, scores_of, size_table
from nnunet_kits.reporting.trained_model import TrainedModel

FEWEST_FOR_CHARTS = 2


@dataclass(frozen=True)
class Study:
    """Everything that the page tells.

    Attributes:
        findings: case -> what is known of it, the worst first.
        pictures: case -> its pictures, for the cases that are shown, in the same order.
        models: what was trained.
        facts: what was run: (name, value).
        comparison: with another system, see :func:`nnunet_kits.evaluation.cross_validation.compare_scored`.
    """

    findings: Mapping[str, Finding]
    pictures: Mapping[str, CasePictures] = field(default_factory=dict)
    models: Sequence[TrainedModel] = ()
    facts: Sequence[tuple[str, str]] = ()
    comparison: Mapping[str, Any] | None = None

    @property
    def scored(self) -> list[Mapping[str, Any]]:
        """The scores of the cases that have a reference."""
        return scores_of(self.findings)


class Article(NamedTuple):
    """One case with its pictures."""

    case: str
    scores: str
    voxels: str
    pictures: CasePictures
    measures: Table


def sections(study: Study) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Title of every section that has something to say, and (kind, content) of what is in it."""
    for title, parts in groupby(LAYOUT, key=lambda part: part[0]):
        blocks = [(kind, content) for _, kind, fill in parts if (content := fill(study))]
        if blocks:
            yield title, blocks


def anchor(case: str) -> str:
    """The id of a case's section."""
    return "case-" + re.sub(r"\W", "-", case)


def score_charts(study: Study) -> list[Chart]:
    """Box plots of Dice and of surface Dice."""
    scored = study.scored
    if len(scored) < FEWEST_FOR_CHARTS:
        return []
    return [
        chart(title, f"{title}: box plots of {', '.join(numbers)}", figures.score_boxes(numbers))
        for kind, title in SCORES.items()
        if (numbers := {name: [scores[kind][name] for scores in scored] for name in scored[0][kind]})
    ]


def score_charts_explained(study: Study) -> str:
    """What the marks in the box plots are."""
    cases = len(study.scored)
    points = "A point is a case, the diamond their mean." if cases >= FEWEST_FOR_CHARTS else ""
    boxes = " The box holds the middle half of the cases, the thick line is their median."
    return points + boxes if cases >= figures.FEWEST_FOR_A_BOX else points


def sizes_explained(study: Study) -> str:
    """What is measured."""
    explanation = (
        "Kidneys with their tumors and cysts, by the patient's side. The size of a tumor is its largest diameter "
        "within an axial plane. A connected component counts as one lesion."
    )
    return explanation if study.findings else ""


def checks_explained(study: Study) -> str:
    """What is checked, and what that is worth."""
    explanation = (
        "Cases with something to look at: sizes outside published ranges, a scan that cuts what is labelled, a CT that "
        "is not in HU, lesions of a single voxel. The ranges are those of adults without kidney disease, so a sick "
        "kidney may be outside rightly, and a case without a remark may be wrong all the same."
    )
    if any(found.agreement for found in study.findings.values()):
        explanation += " Where folds, or mirrored copies, of a model disagree, their mean is less to be trusted."
    return explanation if check_table(study.findings, []) else ""


def cases_explained(study: Study) -> str:
    """How to read the pictures, and how many cases are shown."""
    shown, total = len(study.pictures), len(study.findings)
    explanation = (
        "Each case: three planes through its largest lesion, then axial slices from head to feet to scroll through. "
        "The patient's right is on the left of axial and coronal planes. Slices are counted from the head, the front "
        f"and the right. Window: level {WINDOW_LEVEL_HU:.0f}, width {WINDOW_WIDTH_HU:.0f} HU. Each label has its "
        "letter; the colors are those of Okabe and Ito (2008), which stay apart in every kind of color blindness."
    )
    if shown < total:
        explanation += f" The {'worst' if _outlined(study) else 'first'} {shown} of {total} cases are shown."
    return explanation if shown else ""


def legend(study: Study) -> dict[str, Any]:
    """Letter, name, colours of the filling on tissue and of the outline of each label; whether there are outlines."""
    fills = legend_colours()
    labels = [(name[0], name, css(fills[label]), css(LABEL_COLOURS[label])) for label, name in LABEL_NAMES.items()]
    return {"labels": labels, "outlines": _outlined(study)} if study.pictures else {}


def articles(study: Study) -> list[Article]:
    """The cases that are shown."""
    shown = [(case, study.findings[case], pictures) for case, pictures in study.pictures.items()]
    return [
        Article(case, in_words(found), voxels(found), pictures, measure_table(found)) for case, found, pictures in shown
    ]


def viewer(study: Study) -> dict[str, Any]:
    """The windows and the colours of the viewer, where a case has one."""
    if not any(pictures.volume for pictures in study.pictures.values()):
        return {}
    return {
        "windows": [(name, f"{level:g} {width:g}") for name, (level, width) in WINDOWS_HU.items()],
        "opacity": round(100 * FILL),
        "labels": [css(colour) for colour in LABEL_COLOURS.values()],
        "differences": {name: css(colour) for name, colour in DIFFERENCE_COLOURS.items()},
    }


def training(study: Study) -> list[tuple[str, list[Chart]]]:
    """Name of each model, and the curves of its folds."""
    return [(model.name, training_curves(model.histories)) for model in study.models]


def facts(study: Study) -> list[tuple[str, str]]:
    """What was run."""
    return [*study.facts, *(fact for model in study.models for fact in model.facts)]


def _compared(fill: Callable[[Mapping[str, Any]], Any]) -> Callable[[Study], Any]:
    """Fills a block of the comparison, where there is one."""
    return lambda study: study.comparison and fill(study.comparison)


LAYOUT: tuple[tuple[str, str, Callable[[Study], Any]], ...] = (
    ("Scores", "charts", score_charts),
    ("Scores", "text", score_charts_explained),
    ("Scores", "table", lambda study: score_table(study.findings, list(study.pictures))),
    ("Comparison", "text", _compared(comparison.explained)),
    ("Comparison", "charts", _compared(comparison.difference_charts)),
    ("Comparison", "text", _compared(comparison.charts_explained)),
    ("Comparison", "table", _compared(comparison.score_table)),
    ("Comparison", "table", _compared(comparison.lesion_table)),
    ("Sizes", "text", sizes_explained),
    ("Sizes", "table", lambda study: size_table(study.findings, list(study.pictures))),
    ("Checks", "text", checks_explained),
    ("Checks", "table", lambda study: check_table(study.findings, list(study.pictures))),
    ("Cases", "text", cases_explained),
    ("Cases", "legend", legend),
    ("Cases", "articles", articles),
    ("Cases", "viewer", viewer),
    ("Training", "models", training),
    ("What was run", "facts", facts),
)
"""The page from top to bottom: section, kind of block, what fills it. What nothing fills is left out."""


def in_words(found: Finding) -> str:
    """A case's scores and tumours in words; what is missing too."""
    lines = []
    if found.scores is not None:
        for kind, title in SCORES.items():
            if found.scores[kind]:
                numbers = (f"{name} {value:.3f}" for name, value in found.scores[kind].items())
                lines.append(f"{title}: {', '.join(numbers)}.")
        tumors, false = found.scores["tumors"]["reference"], found.scores["tumors"]["false_positives"]
        detected = sum(tumor["detected"] for tumor in tumors)
        lines.append(f"Tumors of the reference: {len(tumors)}, {detected} detected. False tumors: {len(false)}.")
    else:
        lines.append("There is no reference.")
    if not found.predicted.structures:
        lines.append("The prediction is empty.")
    return " ".join(lines)


def voxels(found: Finding) -> str:
    """Which CT it is, and its grid."""
    (planes, rows, columns), (z, y, x) = found.shape_zyx, found.spacing_zyx_mm
    slices = "1 axial slice" if planes == 1 else f"{planes} axial slices"
    return f"CT `{found.image}`: {slices}, {z:.2f} mm apart, of {rows} × {columns} voxels of {y:.2f} × {x:.2f} mm."


def _outlined(study: Study) -> bool:
    """Whether some case that is shown has a reference."""
    return any(study.findings[case].true is not None for case in study.pictures)
