"""What a model's labels are called, and what they are in a system: by its dataset.json alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnunet_kits.errors import InferenceError
from nnunet_kits.labels import REGION_LABEL


def written(dataset_json: Mapping[str, Any]) -> dict[str, int]:
    """Name of each label or region of a model, and the value that its label maps hold for it.

    Args:
        dataset_json: of the model.
    """
    named = {key: value for key, value in dataset_json["labels"].items() if key not in ("background", "ignore")}
    if any(isinstance(value, list | tuple) and len(value) > 1 for value in named.values()):  # nnU-Net's own test
        return dict(zip(named, map(int, dataset_json["regions_class_order"]), strict=True))
    return {name: int(value) for name, value in named.items()}


def in_system(dataset_json: Mapping[str, Any], system: Mapping[str, int], where: str) -> dict[int, int]:
    """The system's value of every value that a model writes.

    A model's label has the name that the system gives it; a region of the challenge is the label that a voxel keeps
    when this is the smallest region it belongs to.

    Args:
        dataset_json: of the model.
        system: name -> value.
        where: the model, for messages.

    Raises:
        InferenceError: the model has a label that the system does not know.
    """
    values = {}
    for name, value in written(dataset_json).items():
        ours = name if name in system else REGION_LABEL[name].name.lower() if name in REGION_LABEL else name
        if ours not in system:
            raise InferenceError(f"{where}: has the label {name}, but the system has {', '.join(system)}.")
        values[value] = system[ours]
    return values


def lacking(dataset_json: Mapping[str, Any], needed: Sequence[str], system: Mapping[str, int], where: str) -> list[str]:
    """The labels of a system that a model is asked for and does not know.

    Raises:
        InferenceError: the model has a label that the system does not know.
    """
    known = in_system(dataset_json, system, where).values()
    return [name for name in needed if system[name] not in known]
