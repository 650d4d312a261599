"""Augmentations as named sets of data. One JSON file in ``sets/`` is one set; ``nnunet`` is nnU-Net's own code.

What a file says::

    {
      "summary": "one line",
      "source": ["paper", "repository @ commit"],
      "differs": ["what the source does otherwise, or does not say"],
      "mirror": ["y", "x"],
      "steps": [{"kind": "rotation", "probability": 0.3, "degrees": [-30, 30], "about": ["z"]}]
    }

``one_of`` in place of ``steps`` has several lists of steps, by name, of which one is drawn for a patch. What is drawn
from a range is drawn evenly. Kinds that move voxels come first: all of them are one resampling.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.errors import TrainingError
from nnunet_kits.shipped import read_shipped, shipped_names
from nnunet_kits.values import Rule, is_number, is_share

SETS_FOLDER = Path(__file__).parent / "sets"
DEFAULT_SET = "nnunet"
AXES = "zyx"


def _is_range(value: Any, above: float = float("-inf")) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(map(is_number, value))
        and above < value[0] <= value[1] < float("inf")
    )


def _are_axes(value: Any) -> bool:
    return isinstance(value, list) and all(axis in tuple(AXES) for axis in value) and len(set(value)) == len(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and text for text in value)


RANGE = Rule(_is_range, "a range: [lowest, highest]")
POSITIVE = Rule(lambda value: _is_range(value, 0), "a range of positive numbers: [lowest, highest]")
SPREAD = Rule(lambda value: _is_range(value) and value[0] >= 0, "a range from 0 on: [lowest, highest]")
SHARE = Rule(is_share, "a number above 0, at most 1")
WHERE = Rule(_are_axes, "a list of z, y, x")
SWITCH = Rule(lambda value: isinstance(value, bool), "true or false")
NAMES = Rule(_are_texts, "a list of names of labels or regions")
TEXTS = Rule(_are_texts, "a list of texts")
TEXT = Rule(lambda value: isinstance(value, str) and bool(value), "a text")

KINDS: Mapping[str, Mapping[str, Rule]] = {
    "rotation": {"degrees": RANGE, "about": WHERE},
    "zoom": {"factor": POSITIVE, "axes": WHERE, "each_axis": SWITCH},
    "crop": {"share": POSITIVE, "axes": WHERE, "each_axis": SWITCH, "anywhere": SWITCH, "halves": SWITCH},
    "elastic": {"sigma_voxels": POSITIVE, "magnitude_voxels": SPREAD},
    "brightness": {"factor": POSITIVE, "labels": NAMES},
    "contrast": {"factor": POSITIVE, "keep_range": SWITCH, "labels": NAMES},
    "gamma": {"exponent": POSITIVE, "keep_statistics": SWITCH, "labels": NAMES},
    "brightness_and_contrast": {"brightness": POSITIVE, "contrast": POSITIVE},
    "noise": {"sd": SPREAD, "variance": SPREAD, "in_hu": SWITCH},
    "clip": {"range": RANGE},
}
"""Kind -> what can be said of it; ``docs/reference/augmentations.md`` says what each does."""

SPATIAL = ("rotation", "zoom", "crop", "elastic")
"""Kinds that move voxels."""

OPTIONAL = ("each_axis", "anywhere", "halves", "keep_range", "keep_statistics", "in_hu", "labels")
"""What need not be said: switches are off, and all voxels are changed."""


@dataclass(frozen=True)
class Step:
    """One step of a set.

    Attributes:
        kind: one of ``KINDS``.
        probability: of its being done to a patch.
        given: what is said of it.
    """

    kind: str
    probability: float
    given: Mapping[str, Any]


@dataclass(frozen=True)
class AugmentationSet:
    """One set.

    Attributes:
        name: file stem.
        summary: one line for a list.
        source: where its numbers come from.
        differs: what the source does otherwise, or leaves open.
        mirror: axes that are mirrored half of the time.
        alternatives: name -> steps; one of several is drawn for a patch.
    """

    name: str
    summary: str
    source: tuple[str, ...]
    differs: tuple[str, ...]
    mirror: tuple[str, ...]
    alternatives: Mapping[str, tuple[Step, ...]]

    @property
    def is_in_hu(self) -> bool:
        """Whether a step says in HU what it does."""
        return any(step.given.get("in_hu") for steps in self.alternatives.values() for step in steps)

    def mirror_axes(self, dimensions: int) -> tuple[int, ...]:
        """The mirrored axes as numbers, of patches of so many dimensions."""
        axes = AXES[-dimensions:]
        return tuple(axes.index(axis) for axis in axes if axis in self.mirror)

    def missing_labels(self, labels: Mapping[str, Any]) -> list[str]:
        """Labels that steps ask for, where a dataset has none of a step's: those steps are left out."""
        asked = (step.given.get("labels") for steps in self.alternatives.values() for step in steps)
        return sorted({name for names in asked if names and not labels_named(names, labels) for name in names})


def labels_named(names: Iterable[str], labels: Mapping[str, Any]) -> tuple[int, ...]:
    """Labels of those names of labels and regions that a dataset has.

    Args:
        names: of labels or regions.
        labels: ``labels`` of dataset.json.
    """
    found = [labels[name] for name in names if name in labels]
    return tuple(sorted({label for value in found for label in (value if isinstance(value, list) else [value])}))


def set_names() -> list[str]:
    """Names of all sets."""
    return sorted([DEFAULT_SET, *shipped_names(SETS_FOLDER)])


def set_summaries() -> dict[str, str]:
    """Name of a set -> one line."""
    return {
        name: "nnU-Net's own, with its ranges" if name == DEFAULT_SET else load_set(name).summary
        for name in set_names()
    }


def load_set(name_or_file: str) -> AugmentationSet:
    """A set by its name, or from a JSON file of one's own.

    Raises:
        TrainingError: no such set, or a file that is none; the message names the key and what is allowed.
    """
    path, content = read_shipped(name_or_file, SETS_FOLDER, "augmentation", TrainingError, set_names())
    if not isinstance(content, dict):
        raise TrainingError(f"{path}: a set is a JSON object, not a {type(content).__name__}.")
    form = "one_of" if "one_of" in content else "steps"
    rules = {"summary": TEXT, "source": TEXTS, "differs": TEXTS, "mirror": WHERE, form: _form(form)}
    _check(str(path), content, rules, optional=("differs",))
    alternatives = content[form] if form == "one_of" else {"all": content[form]}
    return AugmentationSet(
        path.stem,
        content["summary"],
        tuple(content["source"]),
        tuple(content.get("differs", ())),
        tuple(content["mirror"]),
        {name: _steps(f"{path}, {name}", steps) for name, steps in alternatives.items()},
    )


def _form(key: str) -> Rule:
    if key == "steps":
        return Rule(lambda value: isinstance(value, list), "a list of steps")
    return Rule(
        lambda value: isinstance(value, dict) and len(value) > 1 and all(isinstance(s, list) for s in value.values()),
        "an object of at least two names, each with a list of steps",
    )


def _steps(where: str, given: list[Any]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number, content in enumerate(given, 1):
        kind = content.get("kind") if isinstance(content, dict) else None
        if not isinstance(kind, str) or kind not in KINDS:
            raise TrainingError(f"{where}, step {number}: there is no kind {kind!r}. Allowed: {', '.join(KINDS)}.")
        here, values = f"{where}, step {number} ({kind})", {k: v for k, v in content.items() if k != "kind"}
        optional = (*OPTIONAL, "sd", "variance")
        _check(here, values, {"probability": SHARE, **KINDS[kind]}, optional)
        if kind == "noise" and ("sd" in values) == ("variance" in values):
            raise TrainingError(f"{here}: say either sd or variance.")
        if kind in SPATIAL and any(step.kind not in SPATIAL or step.kind == kind for step in steps):
            raise TrainingError(f"{here}: {', '.join(SPATIAL)} come first, each once: they are one resampling.")
        steps.append(Step(kind, values.pop("probability"), values))
    return tuple(steps)


def _check(where: str, given: Mapping[str, Any], rules: Mapping[str, Rule], optional: Iterable[str]) -> None:
    missing = [key for key in rules if key not in given and key not in tuple(optional)]
    unknown = [key for key in given if key not in rules]
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise TrainingError(f"{where}: {' and '.join(parts)}. Allowed: {', '.join(rules)}.")
    for key, value in given.items():
        rules[key].check(f"{where}: {key}", value)
