"""Whether a trainer exists, without importing torch or nnU-Net: ours by its name's parts, others by their source."""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nnunet_kits.environment import SHIM_FOLDER, TRAINER_VARIABLE
from nnunet_kits.errors import TrainerNameError
from nnunet_kits.training.names import GRAMMAR, heads, is_ours, near_miss, parse_trainer_name


def check_trainer(name: str) -> None:
    """Refuse a trainer that nnU-Net would not find.

    Raises:
        TrainerNameError: an unknown part of a name of ours, or a class that is in none of the folders.
    """
    if is_ours(name):
        parse_trainer_name(name)
    elif not any(re.search(rf"^class {re.escape(name)}\b", text, re.MULTILINE) for text in _sources()):
        meant = near_miss(name)
        raise TrainerNameError(
            f"there is no trainer {name!r}: {f'did you mean {meant}? ' if meant else ''}Ours are {GRAMMAR}, with "
            f"{', '.join(heads())}; others are nnU-Net's own, or in a folder of {TRAINER_VARIABLE}."
        )


def _sources() -> Iterator[str]:
    """The text of every file in which nnU-Net looks for trainers that are not ours."""
    found = importlib.util.find_spec("nnunetv2")
    folders = [
        Path(place) / "training" / "nnUNetTrainer" for place in (found and found.submodule_search_locations) or ()
    ]
    folders += [Path(place) for place in os.environ.get(TRAINER_VARIABLE, "").split(os.pathsep) if place.strip()]
    for folder in folders:
        if folder.resolve() != SHIM_FOLDER:
            for file in sorted(folder.rglob("*.py")):
                yield file.read_text(encoding="utf-8", errors="replace")
