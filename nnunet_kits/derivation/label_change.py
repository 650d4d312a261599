"""What becomes of a source's labels under a rule: which value each gets, and which a result gets on its way back."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.derivation.rule import Rule, Word
from nnunet_kits.errors import DerivationError
from nnunet_kits.geometry import copy_planes
from nnunet_kits.labels import Label


@dataclass(frozen=True)
class SourceLabels:
    """The labels of a raw dataset: its files hold the same integers whether it is converted with classes or regions.

    Attributes:
        values: all integers above 0 but the ignored one.
        names: name -> integers, one for a class, several for a region.
        ignore: the value that training ignores; None for none.
        content: ``labels`` and, with regions, ``regions_class_order`` of dataset.json.
    """

    values: tuple[int, ...]
    names: Mapping[str, tuple[int, ...]]
    ignore: int | None
    content: Mapping[str, Any]

    @classmethod
    def of(cls, dataset_json: Mapping[str, Any], where: str) -> "SourceLabels":
        """From a dataset.json.

        Raises:
            DerivationError: labels that nnU-Net would not take either.
        """
        labels = dataset_json.get("labels")
        try:
            names = {name: tuple(int(v) for v in np.atleast_1d(value)) for name, value in dict(labels or {}).items()}
        except (TypeError, ValueError) as error:
            raise DerivationError(f"{where}: labels is {labels!r}, which is not what nnU-Net takes.") from error
        ignore = names.pop("ignore", (None,))[0]
        names.pop("background", None)
        values = tuple(sorted({value for members in names.values() for value in members}))
        if not values or values[0] < 1 or max(*values, ignore or 1) > 255:
            raise DerivationError(f"{where}: labels is {labels!r}, but label maps hold values from 1 to 255 and 0.")
        kept = {key: dataset_json[key] for key in ("labels", "regions_class_order") if key in dataset_json}
        return cls(values, names, ignore, kept)

    def described(self) -> str:
        """The labels in words, for messages."""
        names = {members[0]: name for name, members in self.names.items() if len(members) == 1}
        words = {value: names.get(value, _kits_name(value)) for value in self.values}
        listed = ["0 background", *(f"{value} {word}".rstrip() for value, word in words.items())]
        return ", ".join([*listed, *([] if self.ignore is None else [f"{self.ignore} ignore"])])

    def meant_by(self, word: Word) -> tuple[int, ...]:
        """The values that a word of a rule stands for; none for an unknown word."""
        if word == "background" or (type(word) is int and word == 0):
            return (0,)
        if word == "foreground":
            return self.values
        if type(word) is int:
            return (word,) if word in self.values else ()
        if word in self.names:
            return self.names[str(word)]
        return tuple(value for value in self.values if _kits_name(value) == word and self._has_regions)

    @property
    def _has_regions(self) -> bool:
        """Then KiTS's classes have no names in dataset.json, but keep their values."""
        return "regions_class_order" in self.content


@dataclass(frozen=True, eq=False)
class LabelChange:
    """Labels of the source to those of the derived dataset, and back.

    Attributes:
        table: (256,) uint8, value in the source -> value in the derived dataset.
        back: (256,) uint8, value in the derived dataset -> value in the source: the first of those that were joined.
        known: values that the source's label maps may hold.
        ignored: the value that the source ignores; None for none.
        described: the source's labels in words.
        content: ``labels`` and ``regions_class_order`` for the derived dataset.json.
    """

    table: NDArray[np.uint8]
    back: NDArray[np.uint8]
    known: tuple[int, ...]
    ignored: int | None
    described: str
    content: Mapping[str, Any]

    def foreground(self, labels: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Where a label map of the source holds a label that is above 0 and not ignored."""
        found: NDArray[np.bool_] = labels != 0
        if self.ignored is not None:
            found &= labels != self.ignored
        return found


def relabelled(labels: NDArray[np.generic], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A label map (uint8, three-dimensional) with other values; plane by plane, because indices take 8 bytes a voxel.

    Args:
        labels: of any memory layout.
        table: (256,) the new value of each.
    """
    changed = np.empty(labels.shape, np.uint8)
    copy_planes(labels, changed, lambda plane: table[plane])
    return changed


def label_change(rule: Rule, source: SourceLabels, dataset: str) -> LabelChange:
    """Apply a rule's labels to a source's.

    Args:
        rule: the rule.
        source: the source's labels.
        dataset: the source's name, for messages.

    Raises:
        DerivationError: a label that the source does not have, or one that would become two.
    """
    table, back = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    known = (0, *source.values, *([] if source.ignore is None else [source.ignore]))
    content: dict[str, Any] = {key: source.content[key] for key in source.content}
    ignored = _values(rule, rule.ignore, source, dataset)
    if rule.labels is None:
        table[list(source.values)] = back[list(source.values)] = source.values
        labels = {name: value for name, value in source.content["labels"].items() if name != "ignore"}
    else:
        labels, taken = {"background": 0}, set(ignored)
        for number, (name, words) in enumerate(rule.labels.items(), 1):
            values = _values(rule, words, source, dataset)
            twice = sorted(taken & set(values))
            if twice:
                raise DerivationError(
                    f"rule {rule.name}: the label {twice[0]} of {dataset} is named twice, the second time for {name}. "
                    "Each label becomes one other, or is ignored."
                )
            taken |= set(values)
            table[values], back[number], labels[name] = number, values[0], number
        content.pop("regions_class_order", None)
    if ignored or source.ignore is not None:
        labels["ignore"] = int(table.max()) + 1
        table[[*ignored, *([] if source.ignore is None else [source.ignore])]] = labels["ignore"]
    return LabelChange(table, back, known, source.ignore, source.described(), {**content, "labels": labels})


def _values(rule: Rule, words: Iterable[Word], source: SourceLabels, dataset: str) -> list[int]:
    """The source's values that some words stand for, in their order."""
    found: list[int] = []
    for word in words:
        meant = source.meant_by(word)
        if not meant:
            raise DerivationError(
                f"rule {rule.name}: {dataset} has no label {word!r}. It has {source.described()}; background and "
                "foreground (every label above 0) are known too."
            )
        found += [value for value in meant if value not in found]
    return found


def _kits_name(value: int) -> str:
    """What the challenges call a value; empty for one of others."""
    return Label(value).name.lower() if value in set(Label) else ""
