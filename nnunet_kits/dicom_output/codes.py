"""The standard codes of what is found and measured: (value, scheme, meaning).

Source: DICOM PS3.16: CID 7150 (categories), CID 7159 and 7161 (lesions, organs), CID 244 (laterality), CID 7470 and
7472 (lengths, volumes), TID 1500; units in UCUM.
"""

from dataclasses import dataclass
from typing import Any

Code = tuple[str, str, str]

KIDNEY: Code = ("64033007", "SCT", "Kidney")
ANATOMY: Code = ("91723000", "SCT", "Anatomical Structure")
ABNORMAL: Code = ("49755003", "SCT", "Morphologically Abnormal Structure")


@dataclass(frozen=True)
class Structure:
    """What a structure is called in DICOM.

    Attributes:
        category: anatomical, or abnormal.
        type: what it is.
        is_lesion: whether it lies in a kidney, which is then stated too.
    """

    category: Code
    type: Code
    is_lesion: bool


STRUCTURES: dict[str, Structure] = {
    "kidney": Structure(ANATOMY, KIDNEY, False),
    "kidney_and_mass": Structure(ANATOMY, KIDNEY, False),
    "tumor": Structure(ABNORMAL, ("108369006", "SCT", "Neoplasm"), True),
    "mass": Structure(ABNORMAL, ("4147007", "SCT", "Mass"), True),
    "cyst": Structure(ABNORMAL, ("367643001", "SCT", "Cyst"), True),
}

SIDES: dict[str, Code] = {
    "right": ("24028007", "SCT", "Right"),
    "left": ("7771000", "SCT", "Left"),
    "both": ("51440002", "SCT", "Bilateral"),
}

METHOD: Code = ("126030", "DCM", "Sum of segmented voxel method for volume")


@dataclass(frozen=True)
class Quantity:
    """How a measure is written.

    Attributes:
        name: what is measured.
        unit: in UCUM.
        derivation: mean or standard deviation, of a quantity that varies from voxel to voxel.
        method: how it is found.
    """

    name: Code
    unit: Code
    derivation: Code | None = None
    method: Code | None = None


CENTIMETRE: Code = ("cm", "UCUM", "centimeter")
HU: Code = ("[hnsf'U]", "UCUM", "Hounsfield unit")
ATTENUATION: Code = ("112031", "DCM", "Attenuation Coefficient")

QUANTITIES: dict[str, Quantity] = {
    "volume_ml": Quantity(("118565006", "SCT", "Volume"), ("mL", "UCUM", "milliliter"), method=METHOD),
    "axial_diameter_cm": Quantity(("103339001", "SCT", "Long axis"), CENTIMETRE),
    "diameter_3d_cm": Quantity(("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh"), CENTIMETRE),
    "hu_mean": Quantity(ATTENUATION, HU, ("373098007", "SCT", "Mean")),
    "hu_sd": Quantity(ATTENUATION, HU, ("386136009", "SCT", "Standard Deviation")),
}
"""Column of ``measures.csv`` -> how it is written."""


def coded(code: Code) -> Any:
    """As highdicom takes it."""
    from pydicom.sr.coding import Code as Coded

    return Coded(*code)
