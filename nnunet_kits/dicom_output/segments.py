"""The segments of a label map: each kidney, and each lesion or all of a kind and side."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.geometry import whole_box
from nnunet_kits.images import LabelMap
from nnunet_kits.measurement.measure import middle_of
from nnunet_kits.measurement.parts import numbered_parts

Each = Literal["lesion", "structure"]


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        structure: ``kidney``, ``tumor`` or ``cyst``.
        component: as the measures number it; 0 for all of one side together.
        side: the patient's ``left`` or ``right``, or ``both``.
    """

    structure: str
    component: int
    side: str

    @property
    def label(self) -> str:
        """For people: ``Tumor 2, left``."""
        return label_of(self.structure, self.component, self.side)


@dataclass(frozen=True)
class Segments:
    """The segments of a label map.

    Attributes:
        segments: from number 1 on.
        numbers: (slices, rows, columns), 0 where nothing is.
    """

    segments: tuple[Segment, ...]
    numbers: NDArray[np.uint16] = field(repr=False)


def label_of(structure: str, component: int, side: str) -> str:
    """What people call a structure: ``Tumor 2, left``."""
    name = structure.replace("_and_mass", " with masses").capitalize()
    count = "" if structure.startswith("kidney") else "s" if component == 0 else f" {component}"
    return f"{name}{count}, {side}"


def segments_of(labels: LabelMap, each: Each = "lesion") -> Segments:
    """The segments of a label map; none of an empty one.

    Args:
        labels: on the grid of a series, axes (columns, rows, slices).
        each: one segment a lesion, or one for all lesions of a kind and side.

    Raises:
        MeasurementError: more kidneys and lesions than there are numbers.
    """
    whole, grid = labels.within(whole_box(labels.grid.shape)), labels.grid
    numbers, parts = numbered_parts(whole, grid.affine, middle_of(grid.shape, grid.affine))
    found = [Segment(part.name, part.component, part.side) for part in parts]
    if each == "structure":
        joined = [Segment(one.structure, one.component if one.structure == "kidney" else 0, one.side) for one in found]
        found = list(dict.fromkeys(joined))
        numbers = np.array([0, *(found.index(one) + 1 for one in joined)], np.uint16)[numbers]
    return Segments(tuple(found), np.ascontiguousarray(numbers.transpose(2, 1, 0)))
