"""Tumours as a reader counts them: found or missed, by size, and false alarms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.geometry import bounding_box, crop

SIZES_CM = (2.0, 4.0, 7.0)
"""Limits between size classes, by the diameter of a sphere of the tumour's volume.

Source: 4 and 7 cm divide T1a, T1b and T2 in the TNM classification of renal tumours (8th edition); 2 cm divides T1a.
"""


def detect(predicted: NDArray[np.bool_], referred: NDArray[np.bool_], spacing_mm: Sequence[float]) -> dict[str, Any]:
    """Match tumours by component (26-connected).

    A tumour of the reference is detected where a voxel of it is predicted as tumour; a predicted tumour without a voxel
    of a true one is a false positive.

    Returns:
        ``reference``: list of ``{"diameter_cm", "volume_ml", "detected"}``, largest first; ``false_positives``: their
        volumes in ml, largest first.
    """
    box = bounding_box(predicted | referred)
    if box is None:
        return {"reference": [], "false_positives": []}
    predicted, referred = crop(predicted, box), crop(referred, box)
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    theirs, hit = _components(referred, predicted)
    ours, real = _components(predicted, referred)
    tumors = [
        {
            "diameter_cm": 2 * (3 * count * voxel_ml / (4 * np.pi)) ** (1 / 3),
            "volume_ml": count * voxel_ml,
            "detected": bool(found),
        }
        for count, found in sorted(zip(theirs.tolist(), hit.tolist(), strict=True), reverse=True)
    ]
    false = sorted((count * voxel_ml for count, found in zip(ours.tolist(), real.tolist(), strict=True) if not found))
    return {"reference": tumors, "false_positives": false[::-1]}


def _components(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Voxels of each component of a mask, and whether another mask touches it."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3), bool))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    hit = np.bincount(pieces[other].ravel(), minlength=count + 1)[1:] > 0
    return sizes, hit


def size_class(diameter_cm: float) -> str:
    """``under 2 cm``, ``2 to 4 cm``, ``4 to 7 cm`` or ``7 cm and more``."""
    lower = 0.0
    for upper in SIZES_CM:
        if diameter_cm < upper:
            return f"{lower:g} to {upper:g} cm" if lower else f"under {upper:g} cm"
        lower = upper
    return f"{lower:g} cm and more"


def summarise(cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sensitivity by size class and false positives a case, over the ``tumors`` of many cases."""
    names = [size_class(diameter) for diameter in (0.0, *SIZES_CM)]
    found = {name: [0, 0] for name in names}
    for case in cases:
        for tumor in case["reference"]:
            counts = found[size_class(tumor["diameter_cm"])]
            counts[0] += tumor["detected"]
            counts[1] += 1
    return {
        "sensitivity": {
            name: {"detected": hit, "tumors": count, "share": hit / count if count else None}
            for name, (hit, count) in found.items()
        },
        "false_positives_per_case": sum(len(case["false_positives"]) for case in cases) / max(1, len(cases)),
    }
