"""The challenges' numbers for one case: Dice and surface Dice of each hierarchical evaluation class (HEC)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.evaluation.lesions import detect
from nnunet_kits.evaluation.surfaces import find_surface, rim_of, surface_dice
from nnunet_kits.labels import Label, regions_of


def score_case(
    prediction: NDArray[np.generic],
    reference: NDArray[np.generic],
    spacing_mm: Sequence[float],
    tolerances_mm: Mapping[str, float],
    labels: tuple[Label, ...] = (Label.KIDNEY, Label.TUMOR, Label.CYST),
    hd95: bool = False,
) -> dict[str, Any]:
    """Score a label map against its reference.

    Dice and surface Dice are 1 where both masks are empty and 0 where one is, as the challenges define.

    Args:
        prediction: (z, y, x) label values below 16.
        reference: of the same shape.
        spacing_mm: voxel edges along the axes.
        tolerances_mm: HEC -> tolerance of its surface Dice; a HEC without one gets none.
        labels: foreground labels of the edition.
        hd95: also the 95th percentile of the surface distances, which takes seconds.

    Returns:
        ``dice``, ``surface_dice`` and, if asked for, ``hd95_mm``: HEC -> number; ``label_dice``: label -> number;
        ``volume_ml``: label -> (predicted, reference); ``tumors``: see :func:`nnunet_kits.evaluation.lesions.detect`.

    Source: ``evaluation/metrics.py`` of the repositories neheller/kits21 and neheller/kits23;
    ``starter_code/evaluation.py`` of neheller/kits19.
    """
    z, y, x = (float(edge) for edge in spacing_mm)
    spacing = (z, y, x)
    p, r = _foreground(prediction.astype(np.uint8, copy=False), reference.astype(np.uint8, copy=False))
    regions = regions_of(labels)
    pairs = _joint_histogram(p, r)
    own = {label.name.lower(): (label,) for label in labels}
    found: dict[str, Any] = {
        "dice": {name: _dice(pairs, members) for name, members in regions.items()},
        "surface_dice": {},
        "label_dice": {name: _dice(pairs, members) for name, members in own.items()},
        "volume_ml": {name: _volumes_ml(pairs, members, spacing) for name, members in own.items()},
        "tumors": detect(p == Label.TUMOR, r == Label.TUMOR, spacing),
    }
    bits = {name: 1 << index for index, name in enumerate(regions)}
    table = np.zeros(256, np.uint8)
    for name, members in regions.items():
        table[[int(label) for label in members]] |= bits[name]
    predicted, referred = table[p], table[r]
    scored = {name: bit for name, bit in bits.items() if name in tolerances_mm}
    if scored:
        found["surface_dice"] = _surface_dice(predicted, referred, scored, spacing, tolerances_mm)
    if hd95:
        from nnunet_kits.evaluation.hausdorff import robust_hausdorff_mm

        found["hd95_mm"] = {
            name: robust_hausdorff_mm(predicted & bit != 0, referred & bit != 0, spacing) for name, bit in bits.items()
        }
    return found


def _foreground(
    prediction: NDArray[np.uint8], reference: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both maps, cropped to the box that holds the foreground of either."""
    flat = np.bitwise_or.reduce(prediction, axis=0) | np.bitwise_or.reduce(reference, axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not len(rows):
        return prediction[:0], reference[:0]
    inside = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    p, r = prediction[inside], reference[inside]
    planes = np.flatnonzero(p.max(axis=(1, 2)) | r.max(axis=(1, 2)))
    return p[planes[0] : planes[-1] + 1], r[planes[0] : planes[-1] + 1]


def _joint_histogram(predicted: NDArray[np.uint8], referred: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Voxels for each pair of labels: (predicted, referred), labels 0 to 15."""
    counts = np.zeros(256, np.int64)
    for p, r in zip(predicted, referred, strict=True):
        counts += np.bincount(((p << 4) | (r & 15)).ravel(), minlength=256)
    return counts.reshape(16, 16)


def _dice(pairs: NDArray[np.int64], members: Sequence[int]) -> float:
    """Dice of a class that some labels make up; 1 where neither map has it."""
    total = int(pairs[list(members)].sum()) + int(pairs[:, list(members)].sum())
    return 2 * int(pairs[np.ix_(members, members)].sum()) / total if total else 1.0


def _volumes_ml(pairs: NDArray[np.int64], members: Sequence[int], spacing_mm: Sequence[float]) -> list[float]:
    """Predicted and true volume of some labels."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    return [int(pairs[list(members)].sum()) * voxel_ml, int(pairs[:, list(members)].sum()) * voxel_ml]


def _surface_dice(
    predicted: NDArray[np.uint8],
    referred: NDArray[np.uint8],
    bits: Mapping[str, int],
    spacing_mm: tuple[float, float, float],
    tolerances_mm: Mapping[str, float],
) -> dict[str, float]:
    """Surface Dice of each class; a class that one map lacks is not looked for."""
    found = {}
    for name, bit in bits.items():
        a, b = predicted & bit, referred & bit
        if not a.any() or not b.any():
            found[name] = float(not a.any() and not b.any())
    left = {name: bit for name, bit in bits.items() if name not in found}
    if left:
        rim = rim_of(spacing_mm, max(tolerances_mm[name] for name in left))
        a_surface, b_surface = (find_surface(mask, rim) for mask in (predicted, referred))
        for name, bit in left.items():
            found[name] = surface_dice(a_surface, b_surface, bit, spacing_mm, tolerances_mm[name])
    return {name: found[name] for name in bits}
