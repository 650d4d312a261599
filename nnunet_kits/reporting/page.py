"""Pieces of an HTML page. Every text that comes in is escaped here; what comes out is markup."""

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO

from PIL import Image

from nnunet_kits.labels import Label
from nnunet_kits.reporting.overlays import COLOURS
from nnunet_kits.reporting.style import STYLE

LABEL_NAMES = {Label.KIDNEY: "Kidney", Label.TUMOR: "Tumor", Label.CYST: "Cyst"}


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


def picture(image: Image.Image, description: str, kind: str = "PNG") -> str:
    """A picture inside the page.

    Args:
        image: what is shown.
        description: for who cannot see it.
        kind: ``PNG``, or ``JPEG`` where many pictures would make the page heavy.
    """
    buffer = BytesIO()
    if kind == "PNG":
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=88, subsampling=0)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img src="data:image/{kind.lower()};base64,{data}" alt="{escape(description, quote=True)}">'


def strip(anchor_of: str, slices: Iterable[tuple[str, str]]) -> str:
    """Slices in a row to scroll through, with a switch for the overlay.

    Args:
        anchor_of: the case's anchor.
        slices: markup of each slice without and with overlay.
    """
    figures = "".join(
        f'<div><div class="plain">{plain}</div><div class="overlay">{overlay}</div></div>' for plain, overlay in slices
    )
    name = f"overlay-{anchor_of}"
    return (
        f'<div class="slices"><input type="checkbox" class="toggle" id="{name}" checked>'
        f'<label for="{name}">overlay; scroll sideways for the other slices</label>\n'
        f'<div class="strip" tabindex="0">{figures}</div></div>'
    )


def side_by_side(figures: Iterable[str]) -> str:
    """Figures in a row, two at most; nothing for none."""
    content = "".join(f"<div>{figure}</div>" for figure in figures if figure)
    return f'<div class="row">{content}</div>' if content else ""


def anchor(case: str) -> str:
    """The id of a case's section."""
    return "case-" + re.sub(r"\W", "-", case)
