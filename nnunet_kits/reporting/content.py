"""What stands on the page and in which order, as data: the layout names what fills each section.

A section is made of blocks; the template has a macro for each kind of block. Text is plain here: it is escaped where it
meets markup, in the template.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from matplotlib.figure import Figure

from nnunet_kits.measurement.measure import Measure, Measures
from nnunet_kits.reporting import figures
from nnunet_kits.reporting.overlays import WINDOW_LEVEL_HU, WINDOW_WIDTH_HU, legend_colours
from nnunet_kits.reporting.palette import LABEL_COLOURS, LABEL_NAMES, css
from nnunet_kits.reporting.pictures import CasePictures, Picture, data_uri
from nnunet_kits.reporting.study import Finding
from nnunet_kits.reporting.training_log import TrainedModel

LOW = 0.5
"""Scores below this are set bold and in another colour."""

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


# Kinds of blocks


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    kind: ClassVar = "heading"
    text: str


@dataclass(frozen=True)
class Charts:
    """Charts side by side: (caption, picture)."""

    kind: ClassVar = "charts"
    charts: Sequence[tuple[str, Picture]]


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what stands in it.
        link: case whose section it leads to; empty for none.
        part: how far its bar reaches, 0 to 1; None for no bar.
    """

    text: str
    link: str = ""
    part: float | None = None

    @property
    def low(self) -> bool:
        """Whether it is a score that is set off."""
        return self.part is not None and self.part < LOW


@dataclass(frozen=True)
class Row:
    """A row of a table: its name and its cells; a row without cells is a heading or a remark over all columns."""

    name: Cell
    cells: Sequence[Cell] = ()
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: read to those who cannot see it.
        groups: (title, columns) over the columns after the first; empty for none.
        columns: titles, that of the rows' names first.
        rows: from top to bottom.
        words: columns that hold words, not numbers.
    """

    kind: ClassVar = "table"
    name: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[Row]
    words: frozenset[str] = frozenset()

    @property
    def starts(self) -> set[int]:
        """Columns at which a group begins."""
        starts, column = set(), 1
        for _, span in self.groups:
            starts.add(column)
            column += span
        return starts


@dataclass(frozen=True)
class Facts:
    """Name and value, a row each."""

    kind: ClassVar = "facts"
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Legend:
    """What colours and letters mean: (letter, name, colour of the filling on tissue, colour of the outline)."""

    kind: ClassVar = "legend"
    labels: Sequence[tuple[str, str, str, str]]
    outlines: bool


@dataclass(frozen=True)
class Article:
    """One case with its pictures."""

    kind: ClassVar = "article"
    case: str
    lines: Sequence[str]
    voxels: str
    pictures: CasePictures
    measures: Table


Block = Text | Heading | Charts | Table | Facts | Legend | Article


def sections(study: Study) -> Iterator[tuple[str, list[Block]]]:
    """Title and blocks of every section that has something to say."""
    for title, parts in LAYOUT:
        blocks = [block for part in parts for block in part(study)]
        if blocks:
            yield title, blocks


def anchor(case: str) -> str:
    """The id of a case's section."""
    return "case-" + re.sub(r"\W", "-", case)


# What fills the blocks


def score_charts(study: Study) -> Iterator[Block]:
    """Box plots of Dice and of surface Dice."""
    scored = study.scored
    if len(scored) < FEWEST_FOR_CHARTS:
        return
    yield Charts(
        [
            _chart(title, f"{title}: box plots of {', '.join(numbers)}", figures.score_boxes(numbers))
            for kind, title in SCORES.items()
            if (numbers := {name: [scores[kind][name] for scores in scored] for name in scored[0][kind]})
        ]
    )
    boxes = " The box holds the middle half of the cases, the thick line is their median."
    yield Text("A point is a case, the diamond their mean." + boxes * (len(scored) >= figures.FEWEST_FOR_A_BOX))


def score_table(study: Study) -> Iterator[Block]:
    """Cases by scores, the mean on top."""
    scored = study.scored
    if not scored:
        return
    columns = [(kind, name) for kind in SCORES for name in scored[0][kind]]
    means = [_score(sum(scores[kind][name] for scores in scored) / len(scored)) for kind, name in columns]
    rows = [Row(Cell(f"mean of {len(scored)}"), means, "mean")]
    for case, found in study.findings.items():
        scores = found.scores
        cells = [_score(scores[kind][name]) if scores else Cell(NOTHING) for kind, name in columns]
        rows.append(Row(_name(case, study), cells))
    groups = [(title, len(scored[0][kind])) for kind, title in SCORES.items() if scored[0][kind]]
    yield Table("Scores", groups, ["Case", *(name for _, name in columns)], rows)


def sizes(study: Study) -> Iterator[Block]:
    """Volume of each kidney and size of the largest tumour of every case, predicted and in the reference."""
    if not study.findings:
        return
    yield Text(
        "Kidneys with their tumors and cysts, by the patient's side. The size of a tumor is its largest diameter "
        "within an axial plane. A connected component counts as one lesion."
    )
    both = any(found.true is not None for found in study.findings.values())
    rows = []
    for case, found in study.findings.items():
        maps = [found.predicted, found.true] if both else [found.predicted]
        pairs = zip(*(_sizes(measures) for measures in maps), strict=True)
        rows.append(Row(_name(case, study), [Cell(text) for pair in pairs for text in pair]))
    if both:
        columns = ["Case", *("predicted", "reference") * len(SIZES)]
        yield Table("Sizes", [(title, 2) for title in SIZES], columns, rows)
    else:
        yield Table("Sizes", [], ["Case", *SIZES], rows)


def cases_explained(study: Study) -> Iterator[Block]:
    """How to read the pictures, and how many cases are shown."""
    if not study.pictures:
        return
    outlines = any(study.findings[case].true is not None for case in study.pictures)
    explanation = (
        "Each case: three planes through its largest lesion, then axial slices from head to feet to scroll through. "
        "The patient's right is on the left of axial and coronal planes. Slices are counted from the head, the front "
        f"and the right. Window: level {WINDOW_LEVEL_HU:.0f}, width {WINDOW_WIDTH_HU:.0f} HU. Each label has its "
        "letter; the colors are those of Okabe and Ito (2008), which stay apart in every kind of color blindness."
    )
    shown, total = len(study.pictures), len(study.findings)
    if shown < total:
        explanation += f" The {'worst' if outlines else 'first'} {shown} of {total} cases are shown."
    yield Text(explanation)
    fills = legend_colours()
    yield Legend(
        [(name[0], name, css(fills[label]), css(LABEL_COLOURS[label])) for label, name in LABEL_NAMES.items()], outlines
    )


def case_articles(study: Study) -> Iterator[Block]:
    """Pictures and measures of the cases that are shown."""
    for case, pictures in study.pictures.items():
        found = study.findings[case]
        yield Article(case, case_lines(found), voxels(found), pictures, measure_table(found.predicted, found.true))


def training(study: Study) -> Iterator[Block]:
    """Curves of the models' folds."""
    for model in study.models:
        if not model.histories:
            yield Text(f"`{model.name}`: it has no training log.")
            continue
        yield Heading(model.name)
        drawn = {
            "Loss: training solid, validation dashed": figures.loss_curves(model.histories),
            "Pseudo Dice on validation patches, mean over classes": figures.dice_curves(model.histories),
        }
        yield Charts([_chart(title, title, figure) for title, figure in drawn.items() if figure])


def facts(study: Study) -> Iterator[Block]:
    """What was run."""
    every = [*study.facts, *(fact for model in study.models for fact in model.facts)]
    if every:
        yield Facts(every)


LAYOUT: tuple[tuple[str, tuple[Callable[[Study], Iterator[Block]], ...]], ...] = (
    ("Scores", (score_charts, score_table)),
    ("Sizes", (sizes,)),
    ("Cases", (cases_explained, case_articles)),
    ("Training", (training,)),
    ("What was run", (facts,)),
)
"""The page's sections in order: title, and what fills it. A section that nothing fills is left out."""


def case_lines(found: Finding) -> list[str]:
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
    return lines


def voxels(found: Finding) -> str:
    """Which CT it is, and its grid."""
    (planes, rows, columns), (z, y, x) = found.shape_zyx, found.spacing_zyx_mm
    grid = f"{planes} axial slices, {z:.2f} mm apart, of {rows} × {columns} voxels of {y:.2f} × {x:.2f} mm"
    return f"CT `{found.image}`: {grid}."


def measure_table(predicted: Measures, true: Measures | None) -> Table:
    """Every kidney and lesion of one case, predicted and in the reference."""
    rows = []
    for title, measures in (("predicted", predicted), ("reference", true)):
        if measures is None:
            continue
        rows.append(Row(Cell(title), kind="group"))
        kidneys = [m for m in measures.structures if m.structure == "kidney_and_mass"]
        lesions = [m for m in measures.structures if m.structure in ("tumor", "cyst")]
        lesions.sort(key=lambda m: -m.volume_ml)
        for m in (*kidneys, *lesions[:LESIONS]):
            rows.append(Row(Cell(_structure(m)), [Cell(text(m)) for text in MEASURES.values()]))
        if len(lesions) > LESIONS:
            rows.append(Row(Cell(f"and {len(lesions) - LESIONS} smaller lesions"), kind="remark"))
        if not kidneys and not lesions:
            rows.append(Row(Cell("nothing is labelled"), kind="remark"))
    return Table("Measures", [], ["", *MEASURES], rows, frozenset({"Side"}))


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


def _name(case: str, study: Study) -> Cell:
    return Cell(case, link=case if case in study.pictures else "")


def _score(value: float) -> Cell:
    return Cell(f"{value:.3f}", part=value)


def _chart(caption: str, alt: str, figure: Figure) -> tuple[str, Picture]:
    return caption, Picture(data_uri(figures.to_svg(figure), "svg+xml"), alt)
