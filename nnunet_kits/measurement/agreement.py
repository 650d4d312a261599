"""How far several label maps of one scan agree: those of a model's folds, or of its mirrored copies.

Where networks that saw other training cases, or the same scan mirrored, disagree, their mean is less to be trusted.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("case", "model", "label", "first", "second", "first_ml", "second_ml", "dice")
"""Of the table: a row for each pair of members and label."""


class Tally:
    """Voxels that members label, and that two of them label alike.

    Args:
        members: names, two or more.
        labels: name -> value, from 1 to 255.
        voxel_ml: volume of a voxel.
    """

    def __init__(self, members: Sequence[str], labels: Mapping[str, int], voxel_ml: float) -> None:
        self.members, self.labels, self.voxel_ml = list(members), dict(labels), voxel_ml
        self.counts = np.zeros((len(members), len(members), 256), np.int64)

    def add(self, maps: Sequence[NDArray[np.uint8]], counted: NDArray[np.bool_] | None = None) -> None:
        """Count voxels.

        Args:
            maps: the label map of each member, of one shape.
            counted: voxels that have been counted before; None for none.
        """
        some = np.maximum.reduce(list(maps)) > 0
        if counted is not None:
            some &= ~counted
        found = [one[some] for one in maps]
        for a, values in enumerate(found):
            self.counts[a, a] += np.bincount(values, minlength=256)
        for a, b in combinations(range(len(found)), 2):
            self.counts[a, b] += np.bincount(found[a][found[a] == found[b]], minlength=256)

    def as_json(self) -> dict[str, Any]:
        """Names of the members; of each label the volume that each member gives it, and the Dice of each two.

        The Dice of two that both lack the label is None.
        """
        return {
            "members": self.members,
            "labels": {
                name: {
                    "volume_ml": [round(float(self.counts[a, a, value]) * self.voxel_ml, 4) for a in self._all],
                    "dice": [[self._dice(a, b, value) for b in self._all] for a in self._all],
                }
                for name, value in self.labels.items()
            },
        }

    @property
    def _all(self) -> range:
        return range(len(self.members))

    def _dice(self, a: int, b: int, value: int) -> float | None:
        both = int(self.counts[a, a, value] + self.counts[b, b, value])
        return round(2 * int(self.counts[min(a, b), max(a, b), value]) / both, 4) if both else None


def lowest_dice(agreement: Mapping[str, Any]) -> dict[str, float]:
    """Label -> the lowest Dice of two members; labels that no member has are left out.

    Args:
        agreement: what :meth:`Tally.as_json` gave.
    """
    lowest = {}
    for name, found in agreement["labels"].items():
        values = [value for row in found["dice"] for value in row if value is not None]
        if values:
            lowest[name] = min(values)
    return lowest


def in_words(agreement: Mapping[str, Any]) -> str:
    """``5 folds: kidney 310 to 325 mL, Dice 0.97 or more; ...``.

    Args:
        agreement: what :meth:`Tally.as_json` gave, with ``of``: what the members are.
    """
    parts = []
    for name, dice in lowest_dice(agreement).items():
        low, high = (bound(agreement["labels"][name]["volume_ml"]) for bound in (min, max))
        parts.append(f"{name} {low:.1f} to {high:.1f} mL, Dice {math.floor(dice * 100) / 100:.2f} or more")
    return f"{len(agreement['members'])} {agreement['of']}: {'; '.join(parts) or 'none labels anything'}"


def as_table(cases: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The agreements of cases as CSV.

    Args:
        cases: case -> an agreement for each model, with ``model``: its name.
    """
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for case, agreements in cases.items():
        for agreement in agreements:
            writer.writerows([case, agreement["model"], *row] for row in _rows(agreement))
    return table.getvalue()


def _rows(agreement: Mapping[str, Any]) -> Iterator[list[Any]]:
    members = agreement["members"]
    for name, found in agreement["labels"].items():
        for a, b in combinations(range(len(members)), 2):
            dice = found["dice"][a][b]
            volumes = found["volume_ml"][a], found["volume_ml"][b]
            yield [name, members[a], members[b], *volumes, "" if dice is None else dice]
