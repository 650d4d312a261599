"""What a model's label map says in a system's labels, and how two label maps become one."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.label_names import in_system, lacking, written
from nnunet_kits.inference.model import Model

LabelMap = NDArray[np.uint8]


def translation(model: Model, system: Mapping[str, int]) -> LabelMap:
    """The system's value of every value that a model writes: a table of 256.

    A model's label has the name that the system gives it; a region of the challenge is the label that a voxel keeps
    when this is the smallest region it belongs to.

    Args:
        model: its dataset.json names what it writes.
        system: name -> value.

    Raises:
        InferenceError: the model has a label that the system does not know.
    """
    table = np.zeros(256, np.uint8)
    for value, ours in in_system(model.dataset_json, system, str(model.folder)).items():
        table[value] = ours
    return table


def check_labels(model: Model, needed: Sequence[str], system: Mapping[str, int], where: str) -> None:
    """Refuse a model that does not know what its place in a system asks for.

    Args:
        model: the model.
        needed: labels of the system.
        system: name -> value.
        where: its place, for messages.

    Raises:
        InferenceError: a label is missing, or one that the system does not have.
    """
    missing = lacking(model.dataset_json, needed, system, str(model.folder))
    if missing:
        raise InferenceError(
            f"{where}: {model.folder.name} has the labels {', '.join(written(model.dataset_json))}, but "
            f"{', '.join(missing)} is needed there. Name the folder of the model that was trained for this place."
        )


def inside(mask: LabelMap, labels: LabelMap) -> LabelMap:
    """Where the mask has a label: that of the other map, or the mask's own where the other has none; 0 outside.

    Args:
        mask: any shape.
        labels: of the same shape.
    """
    found: LabelMap = np.where(mask > 0, np.where(labels > 0, labels, mask), 0).astype(np.uint8)
    return found
