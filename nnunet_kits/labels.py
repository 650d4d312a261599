"""The labels of the KiTS challenges and their hierarchical evaluation classes (HECs).

Source: KiTS23, https://kits-challenge.org/kits23/ ("Evaluation"): kidney and masses (kidney + tumor + cyst),
masses (tumor + cyst), tumor. KiTS19 has no cyst label: its evaluation scores kidney + tumor, and tumor.
"""

from enum import IntEnum


class Label(IntEnum):
    """Values in the challenges' segmentation files."""

    BACKGROUND = 0
    KIDNEY = 1
    TUMOR = 2
    CYST = 3


REGIONS: dict[str, tuple[Label, ...]] = {
    "kidney_and_mass": (Label.KIDNEY, Label.TUMOR, Label.CYST),
    "mass": (Label.TUMOR, Label.CYST),
    "tumor": (Label.TUMOR,),
}
"""Hierarchical evaluation class -> the labels it is the union of, from the largest to the smallest."""

REGION_LABEL: dict[str, Label] = {
    "kidney_and_mass": Label.KIDNEY,
    "mass": Label.CYST,
    "tumor": Label.TUMOR,
}
"""Hierarchical evaluation class -> the label that a voxel keeps when this is the smallest class it belongs to."""


def regions_of(labels: tuple[Label, ...]) -> dict[str, tuple[Label, ...]]:
    """The HECs that exist for a set of labels, each reduced to those labels.

    Without cysts (KiTS19) ``mass`` would equal ``tumor`` and is left out.

    Args:
        labels: foreground labels of the edition, for example ``(Label.KIDNEY, Label.TUMOR)``.

    Returns:
        Region name -> labels, in the order of :data:`REGIONS`.
    """
    found: dict[str, tuple[Label, ...]] = {}
    for name, members in REGIONS.items():
        kept = tuple(label for label in members if label in labels)
        if name == "mass" and kept == (Label.TUMOR,):
            continue
        if kept:
            found[name] = kept
    return found
