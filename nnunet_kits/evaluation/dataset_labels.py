"""What the values of a dataset's label maps are in the challenges' words, by its dataset.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import EvaluationError
from nnunet_kits.labels import REGION_LABEL, Label, regions_of

NAMES: Mapping[str, Label] = {
    "kidney": Label.KIDNEY,
    "kidney_and_mass": Label.KIDNEY,
    "kidney_and_masses": Label.KIDNEY,
    "mass": Label.CYST,
    "masses": Label.CYST,
    "tumor": Label.TUMOR,
    "tumour": Label.TUMOR,
    "cyst": Label.CYST,
}
"""Name of a label in a dataset.json -> the challenge's label that its voxels become before they are scored.

All masses as one label become cysts, so that the class of masses is what it should be; it is not scored as cysts then.
"""

Scores = dict[str, Any]


@dataclass(frozen=True)
class DatasetLabels:
    """The labels of a dataset that need not be those of a KiTS year.

    Attributes:
        values: value in its label maps -> the challenge's label.
        classes: HECs that can be scored.
        labels: names of the labels that can be scored by themselves.
        ignored: value of the voxels that are not scored; None for none.
        truth_of_year: whether the references hold the year's own labels, and only predictions those of the dataset.
    """

    values: Mapping[int, Label]
    classes: tuple[str, ...]
    labels: tuple[str, ...]
    ignored: int | None = None
    truth_of_year: bool = False

    @property
    def highest(self) -> int:
        """The highest value that its references may hold."""
        return max([*self.values, self.ignored or 0])

    def translated(
        self, prediction: NDArray[np.uint8], reference: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Both maps in the challenge's labels, background where the reference is ignored."""
        table = np.zeros(256, np.uint8)
        for value, label in self.values.items():
            table[value] = label
        ours = table[prediction]
        if self.truth_of_year:
            return ours, reference
        if self.ignored is not None:
            ours[reference == self.ignored] = Label.BACKGROUND
        return ours, table[reference]

    def select(self, scores: Scores) -> Scores:
        """The scores of a case without the classes and labels that the dataset does not have."""
        kinds = (
            (self.classes, ("dice", "surface_dice", "hd95_mm")),
            (self.labels, ("label_dice", "label_surface_dice", "volume_ml")),
            ((*self.classes, *self.labels), ("precision", "recall", "slice_dice")),
        )
        kept = {kind: names for names, scored in kinds for kind in scored}
        found = {
            kind: {name: value for name, value in content.items() if name in kept[kind]} if kind in kept else content
            for kind, content in scores.items()
        }
        if Label.TUMOR not in self.values.values():
            found.pop("tumors", None)
        return found


def dataset_labels(content: Mapping[str, Any], where: object) -> DatasetLabels:
    """The labels of a dataset.json, with classes, with regions, or of a dataset that was made from a KiTS year.

    Args:
        content: of the file.
        where: the file, for messages.

    Raises:
        EvaluationError: a label whose name is none of the challenges'.
    """
    given = content.get("labels")
    named = {name: value for name, value in given.items() if name != "background"} if isinstance(given, dict) else {}
    ignored = named.pop("ignore", None)
    unknown = [name for name in named if name not in NAMES]
    if unknown or not named:
        raise EvaluationError(
            f"{where}: its labels are {', '.join(map(str, named)) or 'none'}, but only {', '.join(NAMES)} can be "
            "scored as the challenges do. Score others with nnUNetv2_evaluate_folder."
        )
    held = {name: value if isinstance(value, list | tuple) else [value] for name, value in named.items()}
    numbers = [number for value in held.values() for number in value]
    if not all(isinstance(number, int) and 0 < number < 256 for number in (*numbers, ignored or 1)):
        raise EvaluationError(f"{where}: its labels are {given}, but a label's values are whole numbers of 1 to 255.")
    if any(isinstance(value, list | tuple) for value in named.values()):  # regions: the maps hold a year's own values
        values = {value: Label(value) for value in sorted({*numbers} & set(Label))}
        names = {label.name.lower() for label in values.values()}
    else:
        values = {value: NAMES[name] for name, (value,) in held.items()}
        names = {name.replace("tumour", "tumor") for name in named}
    present = tuple(sorted(set(values.values())))
    return DatasetLabels(
        values=values,
        classes=tuple(region for region in regions_of(present) if REGION_LABEL[region] in present),
        labels=tuple(label.name.lower() for label in present if label.name.lower() in names),
        ignored=ignored,
    )
