"""Rules: which labels a derived dataset has, and how its scans are prepared, as JSON.

A rule is a file ``{"summary", "source", "deviations", "labels", "ignore", "preparation", "preset"}``. The shipped ones
are in ``rules/``. Every key and value is checked when a rule is read; whether the source has the labels, when it is
applied.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.errors import DerivationError, PreparationError
from nnunet_kits.preparation.preparation import Preparation
from nnunet_kits.shipped import read_shipped, shipped_names

RULES_FOLDER = Path(__file__).parent / "rules"

KEYS = ("summary", "source", "deviations", "labels", "ignore", "preparation", "preset")

LABEL_NAME = re.compile(r"[A-Za-z]\w*")
RESERVED = ("background", "ignore", "foreground")
"""Names that no label of a rule can have: nnU-Net's own, and what rules call every label above 0."""

Word = str | int
"""A label of the source: its value, its name, ``background``, or ``foreground`` for every label above 0."""


@dataclass(frozen=True)
class Rule:
    """How one dataset is made of another.

    Attributes:
        name: the file's name without ``.json``.
        summary: one sentence.
        source: a paper, or ``ours``.
        deviations: what the source does not say, or what is otherwise here.
        labels: name -> the source's labels that it joins, numbered from 1 in this order; all that is not named becomes
            background. None keeps the source's labels as they are, regions too.
        ignore: the source's labels that training must ignore.
        preparation: of the scans and label maps.
        preset: which plans are meant for it; None for any.
    """

    name: str
    summary: str
    source: str
    deviations: tuple[str, ...]
    labels: Mapping[str, tuple[Word, ...]] | None
    ignore: tuple[Word, ...]
    preparation: Preparation
    preset: str | None

    def as_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return {
            "summary": self.summary,
            "source": self.source,
            "deviations": list(self.deviations),
            "labels": None if self.labels is None else {name: list(words) for name, words in self.labels.items()},
            "ignore": list(self.ignore),
            "preparation": self.preparation.as_json(),
            "preset": self.preset,
        }


def rule_names() -> list[str]:
    """Names of the shipped rules."""
    return shipped_names(RULES_FOLDER)


def load_rule(name_or_file: str) -> Rule:
    """A shipped rule by its name, or one from a JSON file.

    Raises:
        DerivationError: no such rule, or a file that is none; the message names the key and what is allowed.
    """
    path, content = read_shipped(name_or_file, RULES_FOLDER, "rule", DerivationError)
    return parse_rule(path.stem, content, str(path))


def parse_rule(name: str, content: Any, where: str) -> Rule:
    """A rule from what its file holds.

    Raises:
        DerivationError: an unknown or missing key, or a value that is not allowed.
    """
    if not isinstance(content, dict) or sorted(content) != sorted(KEYS):
        given = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DerivationError(f"{where}: a rule has exactly {', '.join(KEYS)}, but this has {given}.")
    for key, kinds in (("summary", str), ("source", str), ("deviations", list), ("preset", str | None)):
        if not isinstance(content[key], kinds):
            raise DerivationError(f"{where}: {key} is {content[key]!r}, not a {'list' if kinds is list else 'text'}.")
    try:
        preparation = Preparation.from_json(content["preparation"], f"{where}, preparation")
    except PreparationError as error:
        raise DerivationError(str(error)) from error
    return Rule(
        name,
        content["summary"],
        content["source"],
        tuple(map(str, content["deviations"])),
        _labels(content["labels"], where),
        _words(content["ignore"], f"{where}: ignore", least=0),
        preparation,
        content["preset"],
    )


def _labels(content: Any, where: str) -> dict[str, tuple[Word, ...]] | None:
    if content is None:
        return None
    if not isinstance(content, dict) or not content:
        raise DerivationError(f'{where}: labels is {content!r}, not {{"name": [labels of the source]}} or null.')
    for name in content:
        if name in RESERVED or not LABEL_NAME.fullmatch(name):
            raise DerivationError(
                f"{where}: no label can be called {name!r}. Use letters, digits and _; {', '.join(RESERVED)} are taken."
            )
    return {name: _words(words, f"{where}: labels, {name}", least=1) for name, words in content.items()}


def _words(content: Any, what: str, least: int) -> tuple[Word, ...]:
    right = isinstance(content, list) and len(content) >= least and all(type(word) in (str, int) for word in content)
    if not right:
        some = "one or more" if least else "any number of"
        raise DerivationError(f"{what} is {content!r}, not a list of {some} labels of the source, by name or value.")
    return tuple(content)
