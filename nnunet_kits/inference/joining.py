"""What a model's label map says in a system's labels, and how two label maps become one."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.model import Model
from nnunet_kits.labels import REGION_LABEL

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
    for name, value in written(model).items():
        ours = name if name in system else REGION_LABEL[name].name.lower() if name in REGION_LABEL else name
        if ours not in system:
            raise InferenceError(f"{model.folder}: has the label {name}, but the system has {', '.join(system)}.")
        table[value] = system[ours]
    return table


def written(model: Model) -> dict[str, int]:
    """Name of each label or region of a model, and the value that its label maps hold for it."""
    named = {key: value for key, value in model.dataset_json["labels"].items() if key not in ("background", "ignore")}
    if model.labels.has_regions:
        return dict(zip(named, map(int, model.labels.regions_class_order), strict=True))
    return {name: int(value) for name, value in named.items()}


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
    values = set(translation(model, system).tolist())
    missing = [name for name in needed if system[name] not in values]
    if missing:
        raise InferenceError(
            f"{where}: {model.folder.name} has the labels {', '.join(written(model))}, but {', '.join(missing)} is "
            "needed there. Name the folder of the model that was trained for this place."
        )


def inside(mask: LabelMap, labels: LabelMap) -> LabelMap:
    """Where the mask has a label: that of the other map, or the mask's own where the other has none; 0 outside.

    Args:
        mask: any shape.
        labels: of the same shape.
    """
    found: LabelMap = np.where(mask > 0, np.where(labels > 0, labels, mask), 0).astype(np.uint8)
    return found
