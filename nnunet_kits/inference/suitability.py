"""Whether a model can do what is asked of it, by its dataset.json alone: one CT in, kidneys out."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.errors import InferenceError
from nnunet_kits.images import calls_masses, check_names
from nnunet_kits.inference.label_names import written
from nnunet_kits.labels import Label
from nnunet_kits.nnunet_files import read_dataset_json

NO_CT = re.compile(r"\b(mr|mri|t1\w*|t2\w*|flair|dwi|adc|pet|us|ultrasound|x-?ray|rgb)\b")
"""Names of channels that are no CT."""

KIDNEY_WORDS = frozenset(
    "kidney kidneys renal tumor tumour tumors tumours cyst cysts mass masses lesion lesions neoplasm cancer "
    "parenchyma cortex medulla region and left right of with other".split()
)
"""Of these words names of labels are made that are kidneys and what grows in them."""


def dataset_of(folder: Path) -> dict[str, Any] | None:
    """What a model's dataset.json holds; None where there is none, which loading will tell.

    Raises:
        InferenceError: it is damaged.
    """
    path = folder / "dataset.json"
    return read_dataset_json(path, InferenceError, "Copy the model again.") if path.is_file() else None


def check_channels(folder: Path, dataset_json: Mapping[str, Any]) -> None:
    """Refuse a model that wants something else than one CT.

    Raises:
        InferenceError: its channels.
    """
    given = dataset_json.get("channel_names") or dataset_json.get("modality") or {}
    names = [str(name) for name in (given.values() if isinstance(given, Mapping) else given)]
    if len(names) > 1:
        raise InferenceError(
            f"{folder.name}: was trained on {len(names)} channels ({', '.join(names)}); predict serves models of one "
            "CT. Use nnUNetv2_predict."
        )
    if names and NO_CT.search(names[0].lower()):
        raise InferenceError(
            f"{folder.name}: was trained on {names[0]}; predict serves models of CT. Use nnUNetv2_predict."
        )


def kidney_values(
    folder: Path, coarse: Mapping[str, Any], fine: Mapping[str, Any], wanted: Sequence[str] | None
) -> tuple[int, ...] | None:
    """The values in a coarse model's label map around which the fine one looks.

    Args:
        folder: of the coarse model.
        coarse: its dataset.json.
        fine: that of the fine model.
        wanted: names of its labels; None where nobody named some.

    Returns:
        Values; None for every one that is not background.

    Raises:
        InferenceError: a label that it does not have, or a model of other organs without names.
    """
    labels = {name: value for name, value in coarse["labels"].items() if name not in ("background", "ignore")}
    if wanted:
        if unknown := [name for name in wanted if name not in labels]:
            raise InferenceError(
                f"--coarse-labels {','.join(unknown)}: {folder.name} has no such label. It has {', '.join(labels)}."
            )
        parts = [labels[name] if isinstance(labels[name], list | tuple) else [labels[name]] for name in wanted]
        return tuple(sorted({int(value) for part in parts for value in part}))
    others = [name for name in labels if name not in fine["labels"] and not _is_kidneys(name)]
    if others:
        raise InferenceError(
            f"{folder.name}: finds more than kidneys: {', '.join(labels)}. Name those that are the kidneys and what "
            "grows in them: --coarse-labels kidney_left,kidney_right"
        )
    return None


def check_meaning(where: str, dataset_json: Mapping[str, Any]) -> bool:
    """Refuse a model whose values mean something else than KiTS's: measures, reports and DICOM go by values.

    Args:
        where: the model, for messages.
        dataset_json: of the model, or of a system.

    Returns:
        Whether its tumors are any masses, cysts too: it has a label of that name, and none for cysts.

    Raises:
        KitsError: a label of another value, or whose name is another structure's.
    """
    values = written(dataset_json)
    if others := [f"{value} {name}" for name, value in values.items() if value not in list(Label)]:
        some = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise InferenceError(
            f"{where}: labels {some}, but measures, reports and DICOM have 1 kidney, 2 tumor (or mass), 3 cyst alone. "
            "Take a model of kidneys; one of other organs may find them (--coarse)."
        )
    names = [(value, name) for name, value in values.items()]
    check_names(names, where)
    return calls_masses(names)


def _is_kidneys(name: str) -> bool:
    words = frozenset(re.findall(r"[a-z]+", name.lower()))
    return bool(words) and words <= KIDNEY_WORDS
