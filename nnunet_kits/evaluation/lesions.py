"""Tumours as a reader counts them: found or missed, by size, and false alarms."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.components import label_components
from nnunet_kits.geometry import bounding_box, crop

SIZES_CM = (2.0, 4.0, 7.0)
"""Limits between size classes, by the diameter of a ball of the tumour's volume.

Source: 4 and 7 cm divide T1a, T1b and T2 of the TNM classification of renal tumours (8th edition); 2 cm divides T1a.
"""


def detect(predicted: NDArray[np.bool_], true: NDArray[np.bool_], spacing_mm: Sequence[float]) -> dict[str, Any]:
    """Match tumours by component (26-connected).

    A true tumour is detected where a voxel of it is predicted as tumour. A predicted tumour without a voxel of a true
    one is a false positive.

    Args:
        predicted: where a tumour is predicted, three-dimensional.
        true: where the reference has one, of the same shape.
        spacing_mm: length of a voxel edge along the axes.

    Returns:
        ``reference``: the true tumours, largest first, each with ``diameter_cm`` (of the ball of its volume),
        ``volume_ml``, ``detected``, and ``overlap``, the share of it that is predicted; ``false_positives``: volumes
        in mL, largest first.
    """
    box = bounding_box(predicted | true)
    if box is None:
        return {"reference": [], "false_positives": []}
    ours, theirs = np.ascontiguousarray(crop(predicted, box)), np.ascontiguousarray(crop(true, box))
    voxel_ml = math.prod(spacing_mm) / 1000
    tumors = [
        {
            "diameter_cm": ball_diameter_cm(voxels * voxel_ml),
            "volume_ml": voxels * voxel_ml,
            "detected": shared > 0,
            "overlap": shared / voxels,
        }
        for voxels, shared in _components(theirs, ours)
    ]
    false = [voxels * voxel_ml for voxels, shared in _components(ours, theirs) if not shared]
    return {"reference": tumors, "false_positives": false}


def ball_diameter_cm(volume_ml: float) -> float:
    """Diameter of the ball of a volume."""
    return float(2 * (3 * volume_ml / (4 * math.pi)) ** (1 / 3))


def size_class(diameter_cm: float) -> str:
    """``under 2 cm``, ``2 to 4 cm``, ``4 to 7 cm`` or ``7 cm and more``."""
    lower = 0.0
    for upper in SIZES_CM:
        if diameter_cm < upper:
            return f"{lower:g} to {upper:g} cm" if lower else f"under {upper:g} cm"
        lower = upper
    return f"{lower:g} cm and more"


def summarise(cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sensitivity by size class and false positives a case, over the findings of :func:`detect` in many cases."""
    names = [size_class(diameter) for diameter in (0.0, *SIZES_CM)]
    found = {name: [0, 0] for name in (*names, "all")}
    for case in cases:
        for tumor in case["reference"]:
            for name in (size_class(tumor["diameter_cm"]), "all"):
                found[name][0] += tumor["detected"]
                found[name][1] += 1
    return {
        "sensitivity": {
            name: {"detected": hit, "tumors": count, "share": hit / count if count else None}
            for name, (hit, count) in found.items()
        },
        "false_positives_per_case": sum(len(case["false_positives"]) for case in cases) / len(cases),
    }


def _components(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Voxels of each component of a mask and how many of them are in another mask too, the largest first."""
    pieces = label_components(mask)
    places = np.flatnonzero(mask)
    owners = pieces.ravel()[places]
    sizes = np.bincount(owners)[1:]
    shared = np.bincount(owners[other.ravel()[places]], minlength=len(sizes) + 1)[1:]
    return sorted(zip(sizes.tolist(), shared.tolist(), strict=True), reverse=True)
