"""Everything that is trained below a folder, and how far it is: folds, and the steps of recipes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.errors import KitsError
from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.status.folds import FAILED, RUNNING, Fold, Told, read_fold
from nnunet_kits.status.runs import Run, StepState, find_runs, read_run, trained_fold

PLACES = ("", "*/", "*/*/", "nnUNet_results/*/*/")
"""From the folder that is named to a model's: it itself, a dataset's, nnUNet_results, or what holds that."""


@dataclass(frozen=True)
class Overview:
    """What is below a folder.

    Attributes:
        root: the folder.
        folds: in the order of datasets, models and folds.
        runs: the recipes.
    """

    root: Path
    folds: list[Fold]
    runs: list[Run]


def read_overview(root: Path, now: float | None = None) -> Overview:
    """Read all folds and recipes below a folder.

    Args:
        root: ``nnUNet_results``, the folder of a dataset or of a model in it, one that holds ``nnUNet_results`` and
            ``runs``, or the folder of one recipe in ``runs``.
        now: seconds since 1970; None for the present.

    Raises:
        KitsError: no such folder, or nothing trained below it.
    """
    if not root.is_dir():
        raise KitsError(f"{root}: no such folder. Name nnUNet_results, or a folder in it or that holds it.")
    folders = sorted({path.resolve() for place in PLACES for path in root.glob(f"{place}fold_*") if path.is_dir()})
    known = [(ModelFolder.at(folder.parent), folder.name.removeprefix("fold_")) for folder in folders]
    runs = [read_run(folder.resolve()) for folder in find_runs(root)]
    steps = {(model.path, fold): (model, step) for run in runs for model, fold, step in _trainings(run)}
    models = {(model.path, fold): model for model, fold in known if model is not None}
    models |= {key: model for key, (model, _) in steps.items()}
    if not models and not runs:
        raise KitsError(
            f"{root}: no fold of a model is below it, and no recipe. Name nnUNet_results, the folder of a dataset or "
            "of a model in it, or one that holds nnUNet_results."
        )
    moment = time.time() if now is None else now
    told = {key: _told(step) for key, (_, step) in steps.items()}
    folds = [read_fold(models[key], key[1], moment, told.get(key)) for key in sorted(models)]
    return Overview(root, folds, runs)


def _trainings(run: Run) -> Iterator[tuple[ModelFolder, str, StepState]]:
    """Model, fold and step of each training of a recipe."""
    root = run.folder.parents[1]
    for step in run.steps:
        if found := trained_fold(step.command):
            dataset, *names, fold = found
            yield ModelFolder(_dataset(root, dataset), *names), fold, step


def _dataset(root: Path, dataset: str) -> Path:
    """A dataset's folder of results, which is given by number or by name."""
    if not dataset.isdecimal():
        return root / "nnUNet_results" / dataset
    number = f"Dataset{int(dataset):03d}"
    places = (root / "nnUNet_results", root / "nnUNet_preprocessed", root / "nnUNet_raw")
    name = next((folder.name for place in places for folder in sorted(place.glob(f"{number}_*"))), number)
    return root / "nnUNet_results" / name


def _told(step: StepState) -> Told | None:
    """What the step that trains a fold knows better than its log."""
    knows = step.state == FAILED or (step.state == RUNNING and step.is_seen)
    return Told(step.state, step.since, step.error) if knows else None
