"""What stands on the page and in which order, as data: the layout says what fills each section, and its kind.

The template has a macro for each kind. Text is plain here: it is escaped where it meets markup, in the template.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from nnunet_kits.measurement.measure import Measure, Measures
from nnunet_kits.reporting import figures
from nnunet_kits.reporting.overlays import WINDOW_LEVEL_HU, WINDOW_WIDTH_HU, legend_colours
from nnunet_kits.reporting.palette import LABEL_COLOURS, LABEL_NAMES, css
from nnunet_kits.reporting.pictures import CasePictures, data_uri
from nnunet_kits.reporting.study import Finding
from nnunet_kits.reporting.training_log import TrainedModel

FEWEST_FOR_CHARTS = 2
LESIONS = 12
"""At most so many lesions of a case are listed, the largest."""

SCORES = {"dice": "Dice", "surface_dice": "Surface Dice"}
NOTHING = "–"


@dataclass(frozen=True)
class Study:
    """Everything that the page tells.

    Attributes:
        findings: case -> what is known of it, the worst first.
        pictures: case -> its pictures, for the cases that are shown, in the same order.
        models: what was trained.
        facts: what was run: (name, value).
    """

    findings: Mapping[str, Finding]
    pictures: Mapping[str, CasePictures] = field(default_factory=dict)
    models: Sequence[TrainedModel] = ()
    facts: Sequence[tuple[str, str]] = ()

    @property
    def scored(self) -> list[Mapping[str, Any]]:
        """The scores of the cases that have a reference."""
        return [found.scores for found in self.findings.values() if found.scores is not None]


class Row(NamedTuple):
    """A row of a table; one without cells is a heading or a remark over all columns, told by its kind."""

    name: str
    cells: Sequence[str | float] = ()
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: read to those who cannot see it.
        columns: titles, that of the rows' names first.
        rows: from top to bottom; a cell that is a number is a score from 0 to 1.
        groups: (title, columns) over the columns after the first; empty for none.
        linked: names of rows that have a section of their own.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Row]
    groups: Sequence[tuple[str, int]] = ()
    linked: Sequence[str] = ()

    @property
    def starts(self) -> list[int]:
        """Columns at which a group begins."""
        return [1 + sum(span for _, span in self.groups[:index]) for index in range(len(self.groups))]


class Chart(NamedTuple):
    """A chart: what stands over it, what is read to those who cannot see it, and where it is."""

    caption: str
    alt: str
    uri: str


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
        _chart(title, f"{title}: box plots of {', '.join(numbers)}", figures.score_boxes(numbers))
        for kind, title in SCORES.items()
        if (numbers := {name: [scores[kind][name] for scores in scored] for name in scored[0][kind]})
    ]


def score_charts_explained(study: Study) -> str:
    """What the marks in the box plots are."""
    cases = len(study.scored)
    points = "A point is a case, the diamond their mean." if cases >= FEWEST_FOR_CHARTS else ""
    boxes = " The box holds the middle half of the cases, the thick line is their median."
    return points + boxes if cases >= figures.FEWEST_FOR_A_BOX else points


def score_table(study: Study) -> Table | None:
    """Cases by scores, the mean on top."""
    scored = study.scored
    if not scored:
        return None
    columns = [(kind, name) for kind in SCORES for name in scored[0][kind]]
    means = [sum(scores[kind][name] for scores in scored) / len(scored) for kind, name in columns]
    rows = [Row(f"mean of {len(scored)}", means, "mean")]
    for case, found in study.findings.items():
        scores = found.scores
        rows.append(Row(case, [scores[kind][name] if scores else NOTHING for kind, name in columns]))
    groups = [(title, len(scored[0][kind])) for kind, title in SCORES.items() if scored[0][kind]]
    return Table("Scores", ["Case", *(name for _, name in columns)], rows, groups, list(study.pictures))


def sizes_explained(study: Study) -> str:
    """What is measured."""
    explanation = (
        "Kidneys with their tumors and cysts, by the patient's side. The size of a tumor is its largest diameter "
        "within an axial plane. A connected component counts as one lesion."
    )
    return explanation if study.findings else ""


def size_table(study: Study) -> Table | None:
    """Volume of each kidney and size of the largest tumour of every case, predicted and in the reference."""
    if not study.findings:
        return None
    both = any(found.true is not None for found in study.findings.values())
    rows = []
    for case, found in study.findings.items():
        maps = [found.predicted, found.true] if both else [found.predicted]
        pairs = zip(*(_sizes(measures) for measures in maps), strict=True)
        rows.append(Row(case, [text for pair in pairs for text in pair]))
    columns, groups = ("predicted", "reference") * len(SIZES), [(title, 2) for title in SIZES]
    linked = list(study.pictures)
    return Table("Sizes", ["Case", *(columns if both else SIZES)], rows, groups if both else (), linked)


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


def training(study: Study) -> list[tuple[str, list[Chart]]]:
    """Name of each model, and the curves of its folds."""
    return [(model.name, list(_curves(model))) for model in study.models]


def facts(study: Study) -> list[tuple[str, str]]:
    """What was run."""
    return [*study.facts, *(fact for model in study.models for fact in model.facts)]


LAYOUT: tuple[tuple[str, str, Callable[[Study], Any]], ...] = (
    ("Scores", "charts", score_charts),
    ("Scores", "text", score_charts_explained),
    ("Scores", "table", score_table),
    ("Sizes", "text", sizes_explained),
    ("Sizes", "table", size_table),
    ("Cases", "text", cases_explained),
    ("Cases", "legend", legend),
    ("Cases", "articles", articles),
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


def measure_table(found: Finding) -> Table:
    """Every kidney and lesion of one case, predicted and in the reference."""
    rows = []
    for title, measures in (("predicted", found.predicted), ("reference", found.true)):
        if measures is None:
            continue
        rows.append(Row(title, kind="group"))
        kidneys = [m for m in measures.structures if m.structure == "kidney_and_mass"]
        lesions = [m for m in measures.structures if m.structure in ("tumor", "cyst")]
        lesions.sort(key=lambda m: -m.volume_ml)
        for m in (*kidneys, *lesions[:LESIONS]):
            rows.append(Row(_structure(m), [text(m) for text in MEASURES.values()]))
        if len(lesions) > LESIONS:
            rows.append(Row(f"and {len(lesions) - LESIONS} smaller lesions", kind="remark"))
        if not kidneys and not lesions:
            rows.append(Row("nothing is labelled", kind="remark"))
    return Table("Measures", ["", *MEASURES], rows)


def _volume_ml(m: Measure) -> str:
    """With one decimal; what would be 0.0 is said to be less than 0.1."""
    return f"{m.volume_ml:.1f}" if m.volume_ml >= 0.05 else "< 0.1"


MEASURES: dict[str, Callable[[Measure], str]] = {
    "Side": lambda m: m.side,
    "Volume, mL": _volume_ml,
    "Axial diameter, cm": lambda m: f"{m.axial_diameter_cm:.1f}",
    "3D diameter, cm": lambda m: f"{m.diameter_3d_cm:.1f}",
    "HU": lambda m: "" if m.hu_mean is None else f"{m.hu_mean:.0f} ± {m.hu_sd:.0f}",
    "Exophytic": lambda m: "" if m.exophytic_share is None else f"{m.exophytic_share:.0%}",
}
"""Columns of a case's table."""

SIZES = ("Right kidney, mL", "Left kidney, mL", "Tumors", "Largest tumor, cm", "Cysts")
"""Columns of the table of all cases, which :func:`_sizes` fills."""


def _sizes(measures: Measures | None) -> list[str]:
    if measures is None:
        return [NOTHING] * len(SIZES)
    kidneys = {m.side: m.volume_ml for m in measures.structures if m.structure == "kidney_and_mass"}
    tumors = [m for m in measures.structures if m.structure == "tumor"]
    largest = f"{max(m.axial_diameter_cm for m in tumors):.1f}" if tumors else NOTHING
    cysts = sum(m.structure == "cyst" for m in measures.structures)
    volumes = [f"{kidneys[side]:.0f}" if side in kidneys else NOTHING for side in ("right", "left")]
    if "both" in kidneys:  # a horseshoe kidney
        volumes = [f"{kidneys['both']:.0f} (joined)", NOTHING]
    return [*volumes, str(len(tumors)), largest, str(cysts)]


def _structure(m: Measure) -> str:
    return "kidney with masses" if m.structure == "kidney_and_mass" else f"{m.structure} {m.component}"


def _curves(model: TrainedModel) -> Iterator[Chart]:
    for title, draw in (
        ("Loss: training solid, validation dashed", figures.loss_curves),
        ("Pseudo Dice on validation patches, mean over classes", figures.dice_curves),
    ):
        if (figure := draw(model.histories)) is not None:
            yield _chart(title, title, figure)


def _chart(caption: str, alt: str, figure: Figure) -> Chart:
    return Chart(caption, alt, data_uri(figures.to_svg(figure), "svg+xml"))


def _outlined(study: Study) -> bool:
    """Whether some case that is shown has a reference."""
    return any(study.findings[case].true is not None for case in study.pictures)
