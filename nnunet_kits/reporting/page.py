"""The page: one HTML file that needs no other, made of the template and the style sheet beside this file."""

import re
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from nnunet_kits import __version__
from nnunet_kits.reporting.content import Study, anchor, sections

TEMPLATE = "report.html.jinja"


def render(title: str, intro: str, study: Study) -> str:
    """The report's whole page.

    Args:
        title: heading.
        intro: paragraphs, with blank lines between them.
        study: what the page tells.
    """
    return render_sections(title, intro, sections(study))


def render_sections(title: str, intro: str, content: Iterable[tuple[str, Sequence[tuple[str, Any]]]]) -> str:
    """A whole page. Every text is escaped; what stands between backticks in prose is set as code.

    Args:
        title: heading.
        intro: paragraphs, with blank lines between them.
        content: title of every section, and kind and content of the blocks in it; the template has a macro for each
            kind.
    """
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            title=title,
            intro=[paragraph for paragraph in re.split(r"\n\s*\n", intro.strip()) if paragraph],
            sections=content,
            version=__version__,
            time=time.strftime("%Y-%m-%d %H:%M"),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"code": _code, "anchor": anchor}
    return environment


def _code(text: str) -> Markup:
    """Escaped text with ``code`` between backticks."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
