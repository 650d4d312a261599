"""Pieces of an HTML page. Every text that comes in is escaped here; what comes out is markup."""

import base64
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from nnunet_kits.errors import ImageError
from nnunet_kits.labels import Label
from nnunet_kits.reporting.overlays import COLOURS
from nnunet_kits.reporting.scores import ScoreTable
from nnunet_kits.reporting.style import STYLE

LOW = 0.5
"""Scores below this are set in another colour."""

LABEL_NAMES = {Label.KIDNEY: "Kidney", Label.TUMOR: "Tumor", Label.CYST: "Cyst"}

Volumes = Mapping[Label, float]


def document(title: str, body: Iterable[str]) -> str:
    """A whole page that needs no other file."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def paragraphs(text: str) -> str:
    """Text as paragraphs, split at blank lines; ``code`` between backticks."""
    return "\n".join(f"<p>{inline(part)}</p>" for part in re.split(r"\n\s*\n", text.strip()) if part)


def inline(text: str) -> str:
    """Escaped text with ``code`` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def section(title: str, *parts: str) -> str:
    """A heading and what is under it; nothing where there is nothing."""
    content = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}\n</section>" if content else ""


def facts_table(facts: Sequence[tuple[str, str]]) -> str:
    """Name and value, a row each."""
    rows = "\n".join(f'<tr><th scope="row">{escape(name)}</th><td>{inline(value)}</td></tr>' for name, value in facts)
    return f'<table class="facts">\n{rows}\n</table>' if facts else ""


def bullet_list(items: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>\n" + "\n".join(f"<li>{inline(item)}</li>" for item in items) + "\n</ul>" if items else ""


def legend(outlines: bool) -> str:
    """What the colours mean: the prediction is filled, the reference outlined."""
    entries = []
    for label, (red, green, blue) in COLOURS.items():
        swatches = f'<i class="swatch" style="background: rgba({red}, {green}, {blue}, 0.6)"></i>'
        if outlines:
            swatches += f'<i class="swatch outline" style="border-color: rgb({red}, {green}, {blue})"></i>'
        entries.append(f"<span>{swatches}{LABEL_NAMES[label]}</span>")
    entries.append(f"<span>filled: predicted{'; outlined: reference' if outlines else ''}</span>")
    return f'<div class="legend">{"".join(entries)}</div>'


def picture(image: Image.Image, description: str) -> str:
    """A picture inside the page."""
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _img("png", buffer.getvalue(), description)


def side_by_side(figures: Iterable[str]) -> str:
    """Figures in a row, three at most; nothing for none."""
    content = "".join(figures)
    return f'<div class="row">{content}</div>' if content else ""


def picture_file(caption: str, path: Path) -> str:
    """A PNG or JPEG file inside the page, with its caption.

    Raises:
        ImageError: the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as image:
            image.verify()
            kind = image.format
        content = path.read_bytes()
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError on a broken PNG
        raise ImageError(f"{path}: cannot be read as a picture ({error}). Leave it out or make it again.") from error
    if kind not in ("PNG", "JPEG"):
        raise ImageError(f"{path}: a report can hold PNG and JPEG pictures, not {kind}. Convert it first.")
    return f"<figure>{_img(kind.lower(), content, caption)}<figcaption>{inline(caption)}</figcaption></figure>"


def score_table(
    scores: ScoreTable | None,
    volumes: Mapping[str, tuple[Volumes, Volumes | None]],
    order: Sequence[str],
    linked: Iterable[str],
) -> str:
    """Cases by regions, the mean on top, then the volumes of prediction and reference.

    Args:
        scores: numbers by case and region; None where there is no reference.
        volumes: case -> mL by label in the prediction, and in the reference or None.
        order: cases from top to bottom.
        linked: cases that have a section of their own.
    """
    if not order:
        return ""
    targets = set(linked)
    regions = scores.regions if scores else ()
    rows = []
    for case in order:
        name = f'<a href="#{anchor(case)}">{escape(case)}</a>' if case in targets else escape(case)
        row = scores.cases.get(case, {}) if scores else {}
        cells = [_score(row.get(region, math.nan), i == 0) for i, region in enumerate(regions)]
        cells += _volume_cells(*volumes[case])
        rows.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    mean = _mean_row(scores) if scores else ""
    head = _table_head(scores.metric if scores else "", regions)
    return f'<div class="wide"><table>\n{head}\n<tbody>\n{mean}' + "\n".join(rows) + "\n</tbody>\n</table></div>"


def anchor(case: str) -> str:
    """The id of a case's section."""
    return "case-" + re.sub(r"\W", "-", case)


def score_line(scores: Mapping[str, float] | None, metric: str) -> str:
    """The numbers of one case in a sentence; nothing where there are none."""
    if not scores:
        return ""
    return f"<p>{escape(metric)}: " + ", ".join(f"{escape(k)} {number(v)}" for k, v in scores.items()) + "</p>"


def number(value: float, digits: int = 3) -> str:
    """A figure, or a dash where it does not exist."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def _mean_row(scores: ScoreTable) -> str:
    numbers = "".join(_score(number, i == 0) for i, number in enumerate(scores.mean().values()))
    empty = f'<td colspan="{2 * len(LABEL_NAMES)}"></td>'
    return f'<tr class="mean"><th scope="row">mean of {len(scores.cases)}</th>{numbers}{empty}</tr>\n'


def _table_head(metric: str, regions: Sequence[str]) -> str:
    groups = f'<th class="first" colspan="{len(regions)}">{escape(metric)}</th>' if regions else ""
    groups += "".join(f'<th class="first" colspan="2">{name}, mL</th>' for name in LABEL_NAMES.values())
    columns = "".join(
        f'<th class="number score{" first" if i == 0 else ""}">{escape(name)}</th>' for i, name in enumerate(regions)
    )
    columns += '<th class="number first">predicted</th><th class="number">reference</th>' * len(LABEL_NAMES)
    return f"<thead>\n<tr><th></th>{groups}</tr>\n<tr><th>Case</th>{columns}</tr>\n</thead>"


def _score(value: float, first: bool) -> str:
    classes = "number" + (" first" if first else "")
    if math.isnan(value):
        return f'<td class="{classes}">–</td>'
    low = " low" if value < LOW else ""
    part = max(0.0, min(1.0, value))
    return f'<td class="{classes} bar{low}" style="--part: {part:.1%}">{number(value)}</td>'


def _volume_cells(prediction: Volumes, reference: Volumes | None) -> list[str]:
    cells = []
    for label in LABEL_NAMES:
        cells.append(f'<td class="number first">{number(prediction[label], 1)}</td>')
        cells.append(f'<td class="number">{number(reference[label] if reference else math.nan, 1)}</td>')
    return cells


def _img(kind: str, content: bytes, description: str) -> str:
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{escape(description, quote=True)}">'
