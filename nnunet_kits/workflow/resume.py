"""What a step that was stopped is given when it is run again, and what a kill left half-written is put aside."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from nnunet_kits.environment import find_dataset
from nnunet_kits.model_folder import BEST, FINAL, LATEST, ModelFolder
from nnunet_kits.recipes.steps import Step
from nnunet_kits.training.checkpoints import is_readable, newest_readable
from nnunet_kits.training.fold_state import flags_left
from nnunet_kits.training.names import is_ours

OVERWRITES = ("predict", "restore", "postprocess", "derive")
"""Our verbs that keep what is there unless they are told ``--overwrite``."""

DAMAGED = ".damaged"


def command_left(step: Step, environment: Mapping[str, str], redo: bool) -> tuple[str, ...] | None:
    """The command that does what is left of a step.

    Args:
        step: the step.
        environment: nnU-Net's folders.
        redo: whether it was done before with another command, so that nothing of it may be kept.

    Returns:
        The command; None where nothing is left.
    """
    _remove_damaged(step, environment)
    if step.verb == "train":
        return _training_left(step.command, environment)
    ours = step.command[0] == "nnunet_kits" and step.command[1] in OVERWRITES
    return (*step.command, "--overwrite") if redo and ours else step.command


def fold_of(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[ModelFolder, str] | None:
    """The model and the fold that an ``nnUNetv2_train`` command trains; None where its dataset is not there."""
    parser = argparse.ArgumentParser(add_help=False)
    for place in ("dataset", "configuration", "fold"):
        parser.add_argument(place)
    parser.add_argument("-p", default="nnUNetPlans")
    parser.add_argument("-tr", default="nnUNetTrainer")
    parser.add_argument("-pretrained_weights")  # else it is taken for -p
    given, _ = parser.parse_known_args(command[1:])
    folder = _dataset(given.dataset, environment)
    if folder is None:
        return None
    results = Path(environment["nnUNet_results"]) / folder.name
    return ModelFolder(results, given.tr, given.p, given.configuration), given.fold


def _dataset(name: str, environment: Mapping[str, str]) -> Path | None:
    """The preprocessed folder of a dataset, which is given by number or by name."""
    preprocessed = Path(environment["nnUNet_preprocessed"])
    return find_dataset(preprocessed, int(name)) if name.isdecimal() else preprocessed / name


def _training_left(command: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...] | None:
    if command[0] != "nnUNetv2_train" or (found := fold_of(command, environment)) is None:
        return command
    model, fold = found
    _put_damaged_aside(model.fold(fold), model.trainer)
    flags = flags_left(model.fold(fold))
    if flags is None:
        return None
    if flags == ("--c",) and "-pretrained_weights" in command:  # nnU-Net takes one of the two
        place = command.index("-pretrained_weights")
        command = command[:place] + command[place + 2 :]
    return (*command, *flags)


def _put_damaged_aside(fold: Path, trainer: str) -> None:
    """Rename checkpoints that cannot be read, where ``--c`` would stumble over them.

    Our trainers go on from the newest good one by themselves, so theirs are put aside only where none is good.
    """
    if is_ours(trainer) and newest_readable(fold, besides=Path()) is not None:
        return
    for name in (FINAL, LATEST, BEST):
        file = fold / name
        if file.is_file() and not is_readable(file):
            file.replace(file.with_name(name + DAMAGED))


def _remove_damaged(step: Step, environment: Mapping[str, str]) -> None:
    """Remove what nnU-Net keeps when it finds it, even half-written: it makes these files anew."""
    for word in ("-d", "--dataset-id"):
        if word in step.command[:-1]:
            folder = _dataset(step.command[step.command.index(word) + 1], environment)
            for name in ("dataset_fingerprint.json", "splits_final.json", "dataset.json"):
                if folder is not None and (folder / name).is_file() and not _is_json(folder / name):
                    (folder / name).unlink()


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
