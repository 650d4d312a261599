"""The report's tables: scores and sizes of all cases, and the measures of one."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from nnunet_kits.measurement.measure import Measure, Measures
from nnunet_kits.reporting.page import anchor
from nnunet_kits.reporting.study import Finding

LOW = 0.5
"""Scores below this are set in another colour."""

SCORES = {"dice": "Dice", "surface_dice": "Surface Dice"}
LESIONS = 12
"""At most so many lesions of a case are listed, the largest."""


def score_table(findings: Mapping[str, Finding], linked: Iterable[str]) -> str:
    """Cases by scores, the mean on top; nothing where no case has a reference.

    Args:
        findings: case -> what is known of it, from top to bottom.
        linked: cases that have a section of their own.
    """
    scored = {case: found.scores for case, found in findings.items() if found.scores is not None}
    if not scored:
        return ""
    first = next(iter(scored.values()))
    columns = [(kind, name) for kind in SCORES for name in first[kind]]
    means = [sum(scores[kind][name] for scores in scored.values()) / len(scored) for kind, name in columns]
    starts = {0, len(first["dice"])}
    rows = [_row(f"mean of {len(scored)}", [_score(value, i in starts) for i, value in enumerate(means)], "mean")]
    targets = set(linked)
    for case, found in findings.items():
        numbers = [found.scores[kind][name] if found.scores else math.nan for kind, name in columns]
        cells = [_score(value, i in starts) for i, value in enumerate(numbers)]
        rows.append(_row(_link(case, targets), cells))
    groups = "".join(f'<th class="first" colspan="{len(first[k])}">{t}</th>' for k, t in SCORES.items() if first[k])
    names = "".join(
        f'<th class="number score{" first" if i in starts else ""}">{escape(name)}</th>'
        for i, (_, name) in enumerate(columns)
    )
    return _table(f"<tr><th></th>{groups}</tr>\n<tr><th>Case</th>{names}</tr>", rows)


def size_table(findings: Mapping[str, Finding], linked: Iterable[str]) -> str:
    """Volume of each kidney and size of the largest tumour of every case, predicted and in the reference."""
    if not findings:
        return ""
    both = any(found.true is not None for found in findings.values())
    targets = set(linked)
    rows = []
    for case, found in findings.items():
        maps = [found.predicted, found.true] if both else [found.predicted]
        columns = list(zip(*(_sizes(measures) for measures in maps), strict=True))
        cells = [_number(text, i == 0) for pair in columns for i, text in enumerate(pair)]
        rows.append(_row(_link(case, targets), cells))
    titles = ("Right kidney, mL", "Left kidney, mL", "Tumors", "Largest tumor, cm", "Cysts")
    groups = "".join(f'<th class="first" colspan="{2 if both else 1}">{title}</th>' for title in titles)
    head = f"<tr><th>{'' if both else 'Case'}</th>{groups}</tr>"
    if both:
        pair = '<th class="number first">predicted</th><th class="number">reference</th>'
        head += f"\n<tr><th>Case</th>{pair * len(titles)}</tr>"
    return _table(head, rows)


def measure_table(predicted: Measures, true: Measures | None) -> str:
    """Every kidney and lesion of one case, predicted and in the reference."""
    has_hu = any(measure.hu_mean is not None for measure in predicted.structures)
    head = "<tr><th></th><th>Side</th>" + "".join(
        f'<th class="number">{title}</th>'
        for title in ("Volume, mL", "Axial diameter, cm", "3D diameter, cm", *(["HU"] if has_hu else []), "Exophytic")
    )
    rows = []
    for title, measures in (("predicted", predicted), ("reference", true)):
        if measures is None:
            continue
        columns = 7 if has_hu else 6
        rows.append(f'<tr class="group"><th colspan="{columns}">{title}</th></tr>')
        kidneys = [m for m in measures.structures if m.structure == "kidney_and_mass"]
        lesions = [m for m in measures.structures if m.structure in ("tumor", "cyst")]
        lesions.sort(key=lambda m: -m.volume_ml)
        rows += [_measure_row(measure, has_hu) for measure in (*kidneys, *lesions[:LESIONS])]
        if len(lesions) > LESIONS:
            rows.append(f'<tr><td colspan="{columns}">and {len(lesions) - LESIONS} smaller lesions</td></tr>')
        if not kidneys and not lesions:
            rows.append(f'<tr><td colspan="{columns}">nothing is labelled</td></tr>')
    return _table(head + "</tr>", rows)


def case_lines(found: Finding) -> str:
    """A case's scores and tumours in words; what is missing too."""
    lines = []
    if found.scores is not None:
        for kind, title in SCORES.items():
            if found.scores[kind]:
                numbers = (f"{escape(name)} {value:.3f}" for name, value in found.scores[kind].items())
                lines.append(f"{title}: {', '.join(numbers)}.")
        tumors, false = found.scores["tumors"]["reference"], found.scores["tumors"]["false_positives"]
        detected = sum(tumor["detected"] for tumor in tumors)
        lines.append(f"Tumors of the reference: {len(tumors)}, {detected} detected. False tumors: {len(false)}.")
    else:
        lines.append("There is no reference.")
    if not found.predicted.structures:
        lines.append("The prediction is empty.")
    return f"<p>{' '.join(lines)}</p>"


def _sizes(measures: Measures | None) -> list[str]:
    """Volumes of the kidneys with their masses, number of tumours, the largest one's diameter, number of cysts."""
    if measures is None:
        return ["–"] * 5
    kidneys = {m.side: m.volume_ml for m in measures.structures if m.structure == "kidney_and_mass"}
    tumors = [m for m in measures.structures if m.structure == "tumor"]
    largest = f"{max(m.axial_diameter_cm for m in tumors):.1f}" if tumors else "–"
    cysts = sum(m.structure == "cyst" for m in measures.structures)
    volumes = [f"{kidneys[side]:.0f}" if side in kidneys else "–" for side in ("right", "left")]
    if "both" in kidneys:  # a horseshoe kidney
        volumes = [f"{kidneys['both']:.0f} (joined)", "–"]
    return [*volumes, str(len(tumors)), largest, str(cysts)]


def _measure_row(measure: Measure, has_hu: bool) -> str:
    names = {"kidney_and_mass": "kidney with masses"}
    name = names.get(measure.structure) or f"{measure.structure} {measure.component}"
    cells = [
        _text(measure.side),
        _number(f"{measure.volume_ml:.1f}"),
        _number(f"{measure.axial_diameter_cm:.1f}"),
        _number(f"{measure.diameter_3d_cm:.1f}"),
    ]
    if has_hu:
        cells.append(_number("" if measure.hu_mean is None else f"{measure.hu_mean:.0f} ± {measure.hu_sd:.0f}"))
    cells.append(_number("" if measure.exophytic_share is None else f"{measure.exophytic_share:.0%}"))
    return _row(name, cells)


def _table(head: str, rows: Sequence[str]) -> str:
    body = "\n".join(rows)
    return f'<div class="wide"><table>\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def _row(name: str, cells: Sequence[str], kind: str = "") -> str:
    """A row of a table; the name is markup."""
    opening = f'<tr class="{kind}">' if kind else "<tr>"
    return f'{opening}<th scope="row">{name}</th>{"".join(cells)}</tr>'


def _link(case: str, targets: set[str]) -> str:
    return f'<a href="#{anchor(case)}">{escape(case)}</a>' if case in targets else escape(case)


def _score(value: float, first: bool) -> str:
    classes = "number" + (" first" if first else "")
    if math.isnan(value):
        return f'<td class="{classes}">–</td>'
    low = " low" if value < LOW else ""
    return f'<td class="{classes} bar{low}" style="--part: {max(0.0, min(1.0, value)):.1%}">{value:.3f}</td>'


def _number(text: str, first: bool = False) -> str:
    return f'<td class="number{" first" if first else ""}">{text}</td>'


def _text(text: str) -> str:
    return f"<td>{escape(text)}</td>"
