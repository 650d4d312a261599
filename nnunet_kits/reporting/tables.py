"""The tables of the report: scores and sizes of all cases, measures of one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nnunet_kits.measurement.measure import Measure, Measures
from nnunet_kits.reporting.study import Finding

LESIONS = 12
"""At most so many lesions of a case are listed, the largest."""

SCORES = {"dice": "Dice", "surface_dice": "Surface Dice"}
NOTHING = "–"


class Row(NamedTuple):
    """A row of a table; one without cells is a heading or a remark over all columns, told by its kind.

    The target is where the viewer jumps: both ends of an axial diameter in the canonical volume, (z, y, x).
    """

    name: str
    cells: Sequence[str | float] = ()
    kind: str = ""
    target: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: read to those who cannot see it.
        columns: titles, that of the rows' names first.
        rows: from top to bottom; a cell that is a number is a score from 0 to 1.
        groups: (title, columns) over the columns after the first; empty for none.
        linked: names of rows that have a section of their own.
        words: titles of columns that are no numbers.
    """

    name: str
    columns: Sequence[str]
    rows: Sequence[Row]
    groups: Sequence[tuple[str, int]] = ()
    linked: Sequence[str] = ()
    words: Sequence[str] = ("Side",)

    @property
    def starts(self) -> list[int]:
        """Columns at which a group begins."""
        return [1 + sum(span for _, span in self.groups[:index]) for index in range(len(self.groups))]


def scores_of(findings: Mapping[str, Finding]) -> list[Mapping[str, Any]]:
    """The scores of the cases that have a reference."""
    return [found.scores for found in findings.values() if found.scores is not None]


def score_table(findings: Mapping[str, Finding], linked: Sequence[str]) -> Table | None:
    """Cases by scores, the mean on top."""
    scored = scores_of(findings)
    if not scored:
        return None
    columns = [(kind, name) for kind in SCORES for name in scored[0][kind]]
    means = [sum(scores[kind][name] for scores in scored) / len(scored) for kind, name in columns]
    rows = [Row(f"mean of {len(scored)}", means, "mean")]
    for case, found in findings.items():
        scores = found.scores
        rows.append(Row(case, [scores[kind][name] if scores else NOTHING for kind, name in columns]))
    groups = [(title, len(scored[0][kind])) for kind, title in SCORES.items() if scored[0][kind]]
    return Table("Scores", ["Case", *(name for _, name in columns)], rows, groups, linked)


def size_table(findings: Mapping[str, Finding], linked: Sequence[str]) -> Table | None:
    """Volume of each kidney and size of the largest tumour of every case, predicted and in the reference."""
    if not findings:
        return None
    both = any(found.true is not None for found in findings.values())
    rows = []
    for case, found in findings.items():
        maps = [found.predicted, found.true] if both else [found.predicted]
        pairs = zip(*(_sizes(measures) for measures in maps), strict=True)
        rows.append(Row(case, [text for pair in pairs for text in pair]))
    columns, groups = ("predicted", "reference") * len(SIZES), [(title, 2) for title in SIZES]
    return Table("Sizes", ["Case", *(columns if both else SIZES)], rows, groups if both else (), linked)


def check_table(findings: Mapping[str, Finding], linked: Sequence[str]) -> Table | None:
    """What a reader should look at: remarks on every case's prediction, and how far its models' members agree."""
    compared = any(found.agreement for found in findings.values())
    columns = ["Remarks on the prediction", *(["Agreement"] if compared else [])]
    rows = []
    for case, found in findings.items():
        cells = ["; ".join(found.predicted.remarks) or NOTHING, found.agreement or NOTHING]
        if cells != [NOTHING, NOTHING]:
            rows.append(Row(case, cells[: len(columns)]))
    return Table("Checks", ["Case", *columns], rows, linked=linked, words=columns) if rows else None


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
            target = [found.to_zyx(end) for end in m.axial_diameter_ends_mm]
            rows.append(Row(_structure(m), [text(m) for text in MEASURES.values()], target=target))
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
