"""What a reader should be told of a case's measures: sizes that are unusual, a cut kidney, an image that is not in HU.

A remark refuses nothing, and its absence proves nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nnunet_kits.images import LabelMap, Volume
from nnunet_kits.labels import Label
from nnunet_kits.measurement.measure import Measures

ENDS = {"S": "head", "I": "feet", "A": "front", "P": "back", "R": "patient's right", "L": "patient's left"}
"""Where the scan ends, by nibabel's letter of the direction."""

NAMED = 5
"""Lesions of a single voxel that are named, at most."""

AIR_HU = -200.0
"""Every CT of a trunk has something below this: air is near -1000."""

FEW_VALUES = 20
"""An image of whole numbers from 0 to no more than this is likely a label map."""

UNSIGNED = 60000
"""No HU is as high, but a negative number is that is stored in 16 bits without a sign."""


@dataclass(frozen=True)
class Usual:
    """What is usual of a kidney.

    Attributes:
        what: as it stands in a remark.
        low: smallest usual value.
        high: largest usual value.
        unit: of both.
        whose: of whom it is usual.
    """

    what: str
    low: float
    high: float
    unit: str
    whose: str


USUAL: dict[str, Usual] = {
    "volume_ml": Usual("volume without masses", 70, 270, "mL", "healthy adults"),
    "diameter_3d_cm": Usual("length without masses", 7.2, 14.9, "cm", "adults in CT"),
    "hu_mean": Usual("mean", 0, 300, "HU", "kidneys in CT"),
}
"""Field of the measure of a kidney's parenchyma -> its usual range.

Source: volume: the outermost of Tukey's fences (1.5 times the distance of the quartiles beyond them) of 930 women's and
885 men's kidneys in MRI, whose quartiles are 121 and 156 mL for women's right and 160 and 203 mL for men's left ones;
"Age- and Sex-Specific Reference Values for Renal Volume", Journal of Clinical Medicine 2024;13(3):769. Length: mean and
three standard deviations of 2,068 kidneys in CT, 10.85 +- 1.22 cm on the right, 11.13 +- 1.26 cm on the left; Glodny et
al., BMC Urology 2009;9:19. HU: ours, wide enough for kidneys without contrast medium and in the arterial phase.
"""


def remarks_on(measures: Measures, labels: LabelMap, of_image: Sequence[str] = ()) -> tuple[str, ...]:
    """The remarks on a case, each a sentence without its full stop.

    Args:
        measures: of the case.
        labels: the label map.
        of_image: those on its CT, of :func:`image_remarks`; none without one.
    """
    return (
        *dict.fromkeys([*([labels.grid.note] if labels.grid.note else []), *of_image]),  # both may lie alike
        *_unusual(measures),
        *_sides(measures),
        *_cut(measures, labels),
        *_single_voxels(measures, labels.grid.voxel_mm3 / 1000),
    )


def image_remarks(image: Volume) -> list[str]:
    """The remarks on a CT by itself: a header that contradicts itself, values that are not in HU."""
    return [*([image.grid.note] if image.grid.note else []), *not_in_hu(image.array)]


def not_in_hu(values: NDArray[np.generic]) -> list[str]:
    """The remark on an image without air; none where there is some.

    Args:
        values: of all voxels, in any shape.
    """
    lowest = float(values.min())
    if lowest <= AIR_HU:
        return []
    highest = float(values.max())
    why = "it may be stored with an offset, or be no CT"
    if lowest == 0 and highest <= FEW_VALUES and values.dtype.kind in "iu":
        why = f"its values are whole numbers up to {highest:g}, as those of a label map"
    elif highest >= UNSIGNED:
        why = f"its highest is {highest:g}, as negative numbers become where they are stored without a sign"
    return [f"the image's lowest value is {lowest:g}, but a CT in HU has air near -1000: {why}"]


def _unusual(measures: Measures) -> Iterator[str]:
    for m in measures.structures:
        if m.structure != "kidney" or m.side == "both":
            continue
        for field, usual in USUAL.items():
            value = getattr(m, field)
            if value is not None and not usual.low <= value <= usual.high:
                decimals = 1 if usual.unit == "cm" else 0
                yield (
                    f"the {m.side} kidney's {usual.what}, {value:.{decimals}f} {usual.unit}, is outside "
                    f"{usual.low:g} to {usual.high:g}, the range of {usual.whose}"
                )


def _sides(measures: Measures) -> Iterator[str]:
    kidneys = [m for m in measures.structures if m.structure == "kidney"]
    if measures.structures and not kidneys:
        yield "there are lesions, but no kidney: their sides are told by the middle of the scan"
    elif len(kidneys) == 1 and kidneys[0].side != "both" and measures.midline_source == "image":
        yield "one kidney was found: its side is told by the middle of the scan"


def _cut(measures: Measures, labels: LabelMap) -> Iterator[str]:
    """What reaches the scan's ends, one sentence for each end."""
    if labels.box is None:
        return
    axes = nib.aff2axcodes(labels.grid.affine)
    for axis, letter in enumerate(axes):
        backwards = next(other for other in _AXIS[letter] if other != letter)
        first, size = labels.start[axis], labels.grid.shape[axis]
        after = first + labels.array.shape[axis]
        for place, index, reached, end in ((0, 0, first == 0, backwards), (-1, size - 1, after == size, letter)):
            if reached:
                reaching = _by_side(measures, labels, axis, place, index)
                yield f"the scan ends at the {ENDS[end]} in {reaching}: what lies beyond is not measured"


_AXIS = {letter: pair for pair in ("RL", "AP", "SI") for letter in pair}


def _by_side(measures: Measures, labels: LabelMap, axis: int, place: int, index: int) -> str:
    """``right kidney, right tumor``: the labels of one plane, by side."""
    plane: NDArray[np.uint8] = np.take(labels.array, place, axis=axis)
    at = np.argwhere(plane)
    indices = np.insert(at + np.delete(labels.start, axis), axis, index, axis=1)
    x_mm: NDArray[np.float64] = indices @ labels.grid.affine[0, :3] + labels.grid.affine[0, 3]
    sides = defaultdict(set)
    for label in (Label.KIDNEY, Label.TUMOR, Label.CYST):
        for right in np.unique(x_mm[plane[tuple(at.T)] == label] > measures.midline_x_mm).tolist():
            sides["right" if right else "left"].add(label)
    return ", ".join(f"{side} {label.name.lower()}" for side, found in sides.items() for label in sorted(found))


def _single_voxels(measures: Measures, voxel_ml: float) -> Iterator[str]:
    single = [m for m in measures.structures if m.structure in ("tumor", "cyst") and m.volume_ml < 1.5 * voxel_ml]
    if single:
        names = ", ".join(f"{m.structure} {m.component}" for m in single[:NAMED])
        more = "" if len(single) <= NAMED else f" and {len(single) - NAMED} more"
        lesions = "lesion of a single voxel" if len(single) == 1 else "lesions of a single voxel each"
        yield f"{len(single)} {lesions}: {names}{more}"
