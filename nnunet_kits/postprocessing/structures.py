"""What operations share: structures, their parameters' ranges, and components taken out of a label map."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.components import Components, touched_labels
from nnunet_kits.errors import PostprocessingError
from nnunet_kits.geometry import pasted_like
from nnunet_kits.labels import REGIONS, Label

LabelMap = NDArray[np.uint8]

STRUCTURES: dict[str, tuple[Label, ...]] = {
    "kidney": (Label.KIDNEY,),
    "cyst": (Label.CYST,),
    **REGIONS,
}
"""Name of a label or region -> the labels it is the union of."""

REPLACEMENTS = ("touching", "background")


def without(
    labels: LabelMap, found: Components, removed: NDArray[np.bool_], members: tuple[Label, ...], replace_with: str
) -> LabelMap:
    """The label map without some components."""
    chosen = removed.copy()
    chosen[0] = False
    if not chosen.any():
        return labels.copy()
    if replace_with == "touching":
        table = touched_labels(found, chosen, members)
    else:
        table = np.zeros(found.count + 1, np.uint8)
    at = chosen[found.ids_at_places]
    found.labels.ravel()[found.places[at]] = table[found.ids_at_places[at]]
    return pasted_like(labels, found.inside, found.labels)


def check_replacement(value: Any) -> None:
    """Refuse what a removed voxel cannot become."""
    if value not in REPLACEMENTS:
        raise PostprocessingError(f"replace_with is {value!r}. Allowed: {', '.join(REPLACEMENTS)}.")


def members_of(name: str, structure: str) -> tuple[Label, ...]:
    """The labels of a structure."""
    if not isinstance(structure, str) or structure not in STRUCTURES:
        raise PostprocessingError(f"{name} is {structure!r}. Allowed: {', '.join(STRUCTURES)}.")
    return STRUCTURES[structure]


def check_count(name: str, value: Any) -> None:
    """Refuse what is no whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PostprocessingError(f"{name} is {value!r}, but must be an integer of at least 1.")


def check_positive(name: str, value: Any) -> None:
    """Refuse what is no number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise PostprocessingError(f"{name} is {value!r}, but must be a number above 0.")
