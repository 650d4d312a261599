"""Probability maps as nnU-Net writes them, full size on disk but never in memory."""

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.atomic import atomic_path
from nnunet_kits.geometry import Box
from nnunet_kits.inference.export import mean_probabilities, slabs
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.scan import Prediction
from nnunet_kits.inference.stage import Answer


def write_probabilities(path: Path, prediction: Prediction, model: Model, properties: dict[str, Any]) -> None:
    """Write ``path``.npz and ``path``.pkl, which ``nnUNetv2_ensemble`` reads.

    Outside the boxes the background is certain.

    Args:
        path: without ending.
        prediction: with its answers.
        model: one of the fine models: all have the same labels.
        properties: what nnU-Net's reader tells of the scan.
    """
    shape = prediction.labels.shape
    parts = [
        (box, _probabilities(answers, box, model.heads))
        for box, answers in zip(prediction.boxes, prediction.answers, strict=True)
    ]
    header = {"descr": "<f4", "fortran_order": False, "shape": (model.heads, *shape)}
    with atomic_path(Path(f"{path}.npz")) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("probabilities.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for head in range(model.heads):
                background = float(head == 0 and not model.labels.has_regions)
                for z in range(shape[0]):
                    member.write(_plane(parts, head, z, shape, background).tobytes())
    whole = [[0, int(size)] for size in shape]
    known = {
        **properties,
        "shape_before_cropping": tuple(int(size) for size in shape),
        "bbox_used_for_cropping": whole,
        "shape_after_cropping_and_before_resampling": tuple(int(size) for size in shape),
    }
    with atomic_path(Path(f"{path}.pkl")) as temporary:
        temporary.write_bytes(pickle.dumps(known))


def _probabilities(answers: Sequence[Answer], box: Box, heads: int) -> NDArray[np.float32]:
    """Mean probabilities of the models in one box: (heads, z, y, x)."""
    found = np.empty([heads, *(stop - start for start, stop in box)], np.float32)
    for start, stop in slabs(box):
        part = mean_probabilities(answers, ((start, stop), box[1], box[2]))
        found[:, start - box[0][0] : stop - box[0][0]] = part.numpy()
    return found


def _plane(
    parts: Sequence[tuple[Box, NDArray[np.float32]]], head: int, z: int, shape: Sequence[int], background: float
) -> NDArray[np.float32]:
    """One plane of one class: the background's certainty, and over it what the boxes say."""
    plane = np.full(shape[1:], background, np.float32)
    for ((first, last), (top, bottom), (left, right)), found in parts:
        if first <= z < last:
            plane[top:bottom, left:right] = found[head, z - first]
    return plane
