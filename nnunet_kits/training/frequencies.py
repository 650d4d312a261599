"""How many voxels every label has in the preprocessed training cases: counted once, kept beside the data."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.atomic import write_text

ENDING = "_label_counts.json"
"""The counts of ``<data identifier>`` lie in the dataset's preprocessed folder, under that name with this ending."""


def label_counts(dataset: Any, cases: Sequence[str], labels: Sequence[int], kept: Path) -> np.ndarray:
    """Voxels of each label in these cases together.

    Args:
        dataset: nnU-Net's dataset of a preprocessed folder.
        cases: which of its cases.
        labels: the labels to count; voxels outside the image's non-zero part (-1) count as background.
        kept: file of the counts by case; cases that it lacks, or whose preprocessed arrays have changed since, are
            counted and added.

    Returns:
        One count per label, in the order of ``labels``.
    """
    known = _read(kept)
    fresh = {}
    for case in cases:
        stamp = _stamp(Path(dataset.source_folder), case)
        if known.get(case, {}).get("stamp") != stamp:
            fresh[case] = {"stamp": stamp, "voxels": _count(dataset, case)}
    known |= fresh
    if fresh:
        write_text(kept, json.dumps(known))
    return np.array([sum(known[case]["voxels"].get(str(int(label)), 0) for case in cases) for label in labels])


def _read(kept: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _stamp(folder: Path, case: str) -> list[int]:
    """Size and time of the file that holds a case's segmentation, in whichever form nnU-Net has written it."""
    file = next(folder / name for name in (f"{case}_seg.b2nd", f"{case}.npz") if (folder / name).exists())
    return [file.stat().st_size, file.stat().st_mtime_ns]


def _count(dataset: Any, case: str) -> dict[str, int]:
    segmentation = np.asarray(dataset.load_case(case)[1][:])
    voxels = np.zeros(256, int)
    for plane in segmentation.reshape(-1, *segmentation.shape[-2:]):
        voxels += np.bincount(np.maximum(plane, 0).ravel(), minlength=256)
    return {str(label): int(count) for label, count in enumerate(voxels) if count}
