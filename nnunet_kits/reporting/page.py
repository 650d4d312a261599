"""The page: one HTML file that needs no other, made of the template and the style sheet beside this file."""

import base64
import hashlib
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
SCRIPT = Path(__file__).with_name("viewer.js")


def render(title: str, intro: str, study: Study) -> str:
    """The report's whole page.

    Args:
        title: heading.
        intro: paragraphs, with blank lines between them.
        study: what the page tells.
    """
    viewed = any(pictures.volume for pictures in study.pictures.values())
    return render_sections(title, intro, sections(study), viewed)


def render_sections(
    title: str, intro: str, content: Iterable[tuple[str, Sequence[tuple[str, Any]]]], viewed: bool = False
) -> str:
    """A whole page. Every text is escaped; what stands between backticks in prose is set as code.

    Args:
        title: heading.
        intro: paragraphs, with blank lines between them.
        content: title of every section, and kind and content of the blocks in it; the template has a macro for each
            kind.
        viewed: whether some case in it has a viewer.
    """
    script = Markup(SCRIPT.read_text(encoding="utf-8")) if viewed else None
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            title=title,
            intro=[paragraph for paragraph in re.split(r"\n\s*\n", intro.strip()) if paragraph],
            sections=content,
            script=script,
            policy=_policy(script),
            version=__version__,
            time=time.strftime("%Y-%m-%d %H:%M"),
        )
    )


def _policy(script: str | None) -> str:
    """What the browser lets the page do: run this very script, and load nothing from anywhere."""
    allowed = [
        "default-src 'none'",
        "img-src data:",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    if script is not None:
        digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
        allowed.append(f"script-src 'sha256-{digest}'")
    return "; ".join(allowed)


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
