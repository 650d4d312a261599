"""Train a cascade whole, by the stock commands: low-resolution folds, their predictions checked, then full resolution.

Every step looks at what is on disk first, so that a killed run goes on where it was.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.cases.splits import read_splits
from nnunet_kits.environment import find_dataset, nnunet_folder, program
from nnunet_kits.errors import TrainingError
from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.nnunet_files import inherited, read_plans
from nnunet_kits.training.fold_state import flags_left
from nnunet_kits.training.names import is_ours, join_after, parse_trainer_name, split_after
from nnunet_kits.training.previous_stage import PreviousStage, explain, previous_stage, unusable_predictions
from nnunet_kits.training.settings import training_settings


@dataclass(frozen=True)
class Cascade:
    """One cascade to train.

    Attributes:
        stage: the low-resolution stage, and the model of the full-resolution one.
        splits: content of ``splits_final.json``.
        device: ``cuda``, ``cpu`` or ``mps``.
    """

    stage: PreviousStage
    splits: Sequence[dict[str, list[str]]]
    device: str

    def command(self, model: ModelFolder, fold: int, *flags: str) -> list[str]:
        """A stock training command."""
        common = [str(model.dataset_id), model.configuration, str(fold), "-p", model.plans, "-tr", model.trainer]
        return ["nnUNetv2_train", *common, "-device", self.device, *flags]


def load_cascade(
    dataset_id: int, plans_name: str, trainer: str, previous_trainer: str | None = None, device: str = "cuda"
) -> Cascade:
    """Read what a cascade needs from the preprocessed folder.

    Args:
        dataset_id: number of the dataset.
        plans_name: plans with a configuration ``3d_cascade_fullres``.
        trainer: trainer of the full-resolution stage, and of the low-resolution one unless ``previous_trainer``.
        previous_trainer: another trainer for the low-resolution stage; the full-resolution trainer's name then gets
            ``_after_<previous_trainer>``.
        device: where to train.

    Raises:
        TrainingError: no such plans, no cascade in them, no splits, a configuration not preprocessed or with training
            settings that are none, or trainers that do not go together.
        TrainerNameError: one of our trainers is misspelt.
    """
    folder = find_dataset(nnunet_folder("nnUNet_preprocessed"), dataset_id)
    plans_file = folder / f"{plans_name}.json" if folder else None
    if folder is None or plans_file is None or not plans_file.is_file():
        raise TrainingError(
            f"dataset {dataset_id:03d} has no plans {plans_name} in {nnunet_folder('nnUNet_preprocessed')}. "
            f"Run: nnunet_kits plan -d {dataset_id} --preset {plans_name}"
        )
    plans = read_plans(plans_file, TrainingError)
    name = next((c for c, given in plans["configurations"].items() if "previous_stage" in given), "")
    trainer = _named(trainer, previous_trainer)
    model = ModelFolder(nnunet_folder("nnUNet_results") / folder.name, trainer, plans_name, name)
    stage = previous_stage(model, plans, folder)
    if stage is None:
        raise TrainingError(f"{plans_file}: no configuration has a previous_stage, so there is no cascade to train.")
    low, full = stage.model.configuration, stage.preprocess_configuration
    for configuration in (low, full):
        if not (folder / plans["configurations"][configuration]["data_identifier"]).is_dir():
            raise TrainingError(
                f"{folder.name}: {configuration} of {plans_name} is not preprocessed. "
                f"Run: nnunet_kits preprocess -d {dataset_id} -p {plans_name} -c {low} {full}"
            )
    for model in (stage.model, stage.next_model):
        if is_ours(model.trainer):  # nnU-Net's own know no such settings
            given = inherited(plans_file, model.configuration, plans["configurations"], TrainingError)
            training_settings(given, model.configuration)
    return Cascade(stage, _splits(folder), device)


def _named(trainer: str, previous: str | None) -> str:
    """Name of the full-resolution trainer, which says which the low-resolution one is where they differ."""
    named = split_after(trainer)[1]
    if previous and named and previous != named:
        raise TrainingError(f"{trainer} follows {named}, but --previous-trainer says {previous}. Give one of the two.")
    if previous and not named and previous != trainer:
        if not is_ours(trainer):
            raise TrainingError(
                f"{trainer} is not one of ours, and nnU-Net's own trainers read the predictions of the same trainer "
                "only. Leave --previous-trainer out, or train the full resolution with one of: nnunet_kits trainers."
            )
        trainer = join_after(trainer, previous)
    for name in (trainer, previous):
        if name and is_ours(name):
            parse_trainer_name(name)
    return trainer


def _splits(folder: Path) -> list[dict[str, list[str]]]:
    file = folder / "splits_final.json"
    if not file.is_file():
        raise TrainingError(
            f"{file} is missing. nnunet_kits convert and nnunet_kits plan make it; for other datasets start and stop "
            "one nnUNetv2_train, which makes nnU-Net's own."
        )
    return read_splits(file, TrainingError)


def steps_left(cascade: Cascade, folds: Sequence[int]) -> list[list[str]]:
    """The commands that are still to be run, in order.

    All low-resolution folds are needed whichever full-resolution folds are asked for: a fold is trained on the
    predictions of all cases.
    """
    stage = cascade.stage
    found = []
    for fold, split in enumerate(cascade.splits):
        predicted = not unusable_predictions(stage, split["val"])
        found.append((stage.model, fold, flags_left(stage.model.fold(fold), predicted)))
    for fold in folds:
        found.append((stage.next_model, fold, flags_left(stage.next_model.fold(fold))))
    return [cascade.command(model, fold, *flags) for model, fold, flags in found if flags is not None]


def train_cascade(cascade: Cascade, folds: Sequence[int] | None = None, dry_run: bool = False) -> list[list[str]]:
    """Run all that is left of a cascade.

    Args:
        cascade: from :func:`load_cascade`.
        folds: full-resolution folds; None for all.
        dry_run: only print the commands.

    Returns:
        The commands, in their order.

    Raises:
        TrainingError: an unknown fold, no such device here, a command that failed, or predictions still missing after
            the low-res folds.
    """
    folds = range(len(cascade.splits)) if folds is None else folds
    unknown = [fold for fold in folds if not 0 <= fold < len(cascade.splits)]
    if unknown:
        raise TrainingError(f"folds {unknown} do not exist: splits_final.json has 0 to {len(cascade.splits) - 1}.")
    _check_splits(cascade)
    commands = steps_left(cascade, folds)
    if commands and not dry_run:
        from nnunet_kits.training.devices import check_device  # torch, where something is to be trained

        check_device(cascade.device, TrainingError)
    for command in commands:
        if dry_run:
            print(" ".join(command))
            continue
        if command[2] == cascade.stage.next_model.configuration:
            _check_all(cascade)
        run_command(command)
    return commands


def _check_splits(cascade: Cascade) -> None:
    """Refuse, before any training, splits by which no low-resolution fold predicts some case that is trained."""
    trained, validated = ({case for split in cascade.splits for case in split[part]} for part in ("train", "val"))
    left = unusable_predictions(cascade.stage, sorted(trained - validated))
    if left:
        raise TrainingError(
            f"{next(iter(left))} and {len(left) - 1} other cases are trained but validated by no fold of "
            "splits_final.json, so there will be no low-resolution prediction of them. A cascade needs folds that "
            "validate every case: nnunet_kits convert makes such with --splits by_number, its default."
        )


def _check_all(cascade: Cascade) -> None:
    cases = sorted({case for split in cascade.splits for part in split.values() for case in part})
    problems = unusable_predictions(cascade.stage, cases)
    if problems:
        raise TrainingError(explain(cascade.stage, problems, cascade.splits))


def run_command(command: list[str], **options: Any) -> None:
    """Print a command and run it.

    Raises:
        TrainingError: it failed; its own output stands above.
    """
    print(f"\n$ {' '.join(command)}", flush=True)
    code = subprocess.run([program(command[0]), *command[1:]], check=False, **options).returncode
    if code:
        raise TrainingError(f"'{' '.join(command)}' failed with exit status {code}; its own error stands above.")
