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

LABELS_OF_YEAR: dict[str, tuple[Label, ...]] = {
    "19": (Label.KIDNEY, Label.TUMOR),
    "21": (Label.KIDNEY, Label.TUMOR, Label.CYST),
    "23": (Label.KIDNEY, Label.TUMOR, Label.CYST),
}
"""Year, two digits -> foreground labels that its label maps may hold."""

TOLERANCES_MM: dict[str, dict[str, float]] = {
    "19": {},
    "21": {"kidney_and_mass": 2.1780822681004897, "mass": 1.3929527150618852, "tumor": 1.536272517110166},
    "23": {"kidney_and_mass": 1.0330772532390826, "mass": 1.1328796488598762, "tumor": 1.1498198361434828},
}
"""Year, two digits -> hierarchical evaluation class -> tolerance of its surface Dice in mm; KiTS19 scores none.

Source: ``configuration/labels.py`` of neheller/kits23, and ``kits21/configuration/labels.py`` of neheller/kits21 at
commit 14e9dca1. A later commit of the latter (697892ba) has KiTS23's three numbers instead; ``evaluate`` takes other
tolerances as an option.
"""


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
