"""Whether slices that belong together are a CT volume to work on; if not, why, with numbers."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from nnunet_kits.images.frames import Frame
from nnunet_kits.images.stacks import Stack, is_placed, stack_of

CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "legacy converted enhanced CT",
    "": "CT",  # taken out by some anonymisers
}
"""SOP classes that are read."""

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Begin of the SOP classes of secondary captures."""

LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM"}
PROJECTIONS = {"MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM", "AVERAGE IP", "PROJECTION IMAGE", "VRT", "SSD"}
"""Words in the image type."""

SAME_DIRECTION = 1e-3
"""Largest difference between the numbers of two orientations that are one."""

MAX_GAP_MM = 10.0
"""Between slices that are resampled: a lesion of this size could lie unseen in a wider gap."""

Use = Literal["take", "choose", "never"]


def verdict(frames: Sequence[Frame]) -> tuple[Use, bool, str]:
    """What may be done with slices that belong together, whether only by resampling, and why no more."""
    frame = frames[0]
    kind = set(frame.image_type)
    never = _no_ct(frame, kind) or _unlike(frames) or _unstackable(stack_of(frames))
    if never:
        return "never", False, never
    uneven = _uneven(stack_of(frames))
    asked = ""
    if "DERIVED" in kind:
        asked = f"derived ({' '.join(frame.image_type)}), such as a reformat"
    elif frame.rescale_type not in ("", "HU"):
        asked = f"its values are stated as {frame.rescale_type}, not as HU"
    return "choose" if asked else "take", bool(uneven), "; ".join(filter(None, (asked, uneven)))


def _no_ct(frame: Frame, kind: set[str]) -> str:
    """Why a frame is no CT slice; empty where it is one."""
    file = frame.file
    if file.sop_class.startswith(CAPTURE):
        return "a secondary capture: a picture, no CT values"
    if file.modality != "CT":
        return f"modality {file.modality or 'not stated'}, not CT"
    if file.sop_class not in CT_CLASSES or not file.rows or not file.columns:
        return "holds no CT image"
    if file.samples != 1:
        return f"{file.samples} numbers a voxel: a coloured picture, no CT values"
    if kind & LOCALIZERS:
        return "a localiser"
    if kind & PROJECTIONS:
        return f"a projection ({' '.join(frame.image_type)}), no CT values of a place"
    return ""


def _unlike(frames: Sequence[Frame]) -> str:
    """Why frames cannot be stacked at all; empty where they can."""
    for frame in frames:
        name = frame.file.path.name
        if not is_placed(frame):
            return f"{name} states no position, orientation or pixel spacing"
        if frame.rescale is None:
            return f"{name} states no rescale slope and intercept, so its values are no HU"
    sizes = sorted({(frame.file.columns, frame.file.rows) for frame in frames})
    if len(sizes) > 1:
        return "slices of different sizes: " + ", ".join(f"{columns} x {rows}" for columns, rows in sizes)
    spacings = np.array([frame.spacing_mm for frame in frames])
    extent = (spacings.max(axis=0) - spacings.min(axis=0)) * (frames[0].file.rows, frames[0].file.columns)
    if extent.max() > SAME_DIRECTION * 10:
        low, high = spacings.min(axis=0), spacings.max(axis=0)
        return f"slices of different pixel spacing, {low.min():g} to {high.max():g} mm"
    return ""


def _unstackable(stack: Stack) -> str:
    """Why slices are no volume, even if they are resampled; empty where they are one."""
    if len(stack.frames) < 2:
        return "a single slice is no volume"
    repeated = stack.repeated()
    if repeated:
        one, other = (stack.frames[repeated[0] + by].file.path.name for by in (-1, 0))
        return f"{len(repeated)} slices lie where another lies, the first are {one} and {other}"
    gap = float(stack.distances_mm.max())
    if not stack.is_even and gap > MAX_GAP_MM:
        return f"{_uneven(stack)}; a gap of {gap:.2f} mm is too wide to be filled (allowed: {MAX_GAP_MM:g} mm)"
    return ""


def _uneven(stack: Stack) -> str:
    """How a stack is no grid of right angles and equal distances; empty where it is one."""
    found = []
    if stack.tilt_degrees:
        found.append(f"its slices are stacked {stack.tilt_degrees:.1f} degrees off their normal (gantry tilt)")
    if not stack.is_even:
        gaps = stack.distances_mm
        usual, gap = float(np.median(gaps)), int(gaps.argmax())
        parts = gaps / usual
        missing = int(np.round(parts - 1).sum())
        if missing > 0 and bool(np.all(np.abs(parts - np.round(parts)) < 0.1)):
            found.append(f"{missing} slices are missing, the first after slice {gap + 1} of {len(stack.frames)}")
        found.append(f"its slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart")
    return "; ".join(found)
