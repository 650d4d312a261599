"""The low-resolution stage of a cascade, and its predictions, on which the full-resolution stage is trained.

nnU-Net's final validation of a low-resolution fold writes, for that fold's validation cases only, one file per case
into ``predicted_next_stage``. The next stage needs one for every case, so all folds must have been validated, and the
full-resolution data must have been preprocessed before. Here they are checked, and what is missing is said in commands.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import blosc2
import numpy as np

from nnunet_kits.errors import InferenceError
from nnunet_kits.model_folder import FINAL, ModelFolder
from nnunet_kits.nnunet_files import read_plans
from nnunet_kits.training.names import split_after

SHOWN = 8
"""How many cases a message names before it counts the rest."""


@dataclass(frozen=True)
class PreviousStage:
    """Where one cascade training finds the stage before it.

    Attributes:
        model: folder of the low-resolution model.
        next_model: folder of the full-resolution model, which is trained on the predictions of the first.
        preprocessed_folder: preprocessed data of the full-resolution configuration.
        preprocess_configuration: configuration whose preprocessing makes that data.
    """

    model: ModelFolder
    next_model: ModelFolder
    preprocessed_folder: Path
    preprocess_configuration: str

    @property
    def predictions(self) -> Path:
        """Folder of the predictions, one ``<case>.b2nd`` (or ``.npz``) each."""
        return self.model.path / "predicted_next_stage" / self.next_model.configuration

    def train_command(self, fold: int | str, flag: str = "") -> str:
        """The stock command that trains (or with ``--val`` only validates) a low-resolution fold."""
        model = self.model
        command = f"nnUNetv2_train {model.dataset_id} {model.configuration} {fold} -p {model.plans} -tr {model.trainer}"
        return f"{command} {flag}" if flag else command


def previous_stage(
    next_model: ModelFolder, plans: Mapping[str, Any], preprocessed: Path, trainer: str | None = None
) -> PreviousStage | None:
    """The stage before that of a model.

    Args:
        next_model: folder of the full-resolution model.
        plans: content of its plans file.
        preprocessed: folder of the dataset's preprocessed data.
        trainer: of the low-resolution stage; None for the one that the name of the full resolution's says.

    Returns:
        The stage before; None where the configuration has none.
    """
    configurations, name = plans["configurations"], next_model.configuration
    configuration = resolved(configurations, name)
    if configuration.get("previous_stage") is None:
        return None
    trainer = trainer or split_after(next_model.trainer)[1] or next_model.trainer
    return PreviousStage(
        model=replace(next_model, trainer=trainer, configuration=configuration["previous_stage"]),
        next_model=next_model,
        preprocessed_folder=preprocessed / configuration["data_identifier"],
        preprocess_configuration=configurations[name].get("inherits_from", name),
    )


def resolved(configurations: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any]:
    """A configuration with what it inherits, as nnU-Net's ``PlansManager`` has it."""
    own = configurations.get(name, {})
    inherited = resolved(configurations, own["inherits_from"]) if "inherits_from" in own else {}
    return {**inherited, **own}


def coarse_model_folder(fine: Path) -> Path | None:
    """The low-resolution model that a cascade was trained on: its neighbour for the stage before.

    Args:
        fine: a trained model's folder.

    Returns:
        The neighbour's folder; None where ``fine`` is no cascade's.

    Raises:
        InferenceError: there is no such neighbour.
    """
    model, plans = ModelFolder.at(fine), fine / "plans.json"
    stage = previous_stage(model, read_plans(plans, InferenceError), Path()) if model and plans.is_file() else None
    if stage is None:
        return None
    if not stage.model.path.is_dir():
        raise InferenceError(f"{fine}: its low-resolution model {stage.model.path} is missing. Name it with --coarse.")
    return stage.model.path


def unusable_predictions(stage: PreviousStage, cases: Iterable[str]) -> dict[str, str]:
    """The cases without a usable low-resolution prediction.

    Returns:
        Case -> what is wrong: not preprocessed, missing, damaged, or of another shape than the full-resolution data.
    """
    found = {case: _problem(stage, case) for case in cases}
    return {case: problem for case, problem in found.items() if problem}


def _problem(stage: PreviousStage, case: str) -> str:
    data = _shape(stage.preprocessed_folder / case, "data")
    if data is None:
        return "its full-resolution data is not preprocessed"
    prediction = _shape(stage.predictions / case, "seg")
    if prediction is None:
        exists = any((stage.predictions / f"{case}{ending}").exists() for ending in (".b2nd", ".npz"))
        return "its low-resolution prediction is damaged" if exists else "it has no low-resolution prediction"
    if tuple(prediction[-len(data) + 1 :]) != tuple(data[1:]):
        return f"its low-resolution prediction is {prediction}, but its full-resolution data {data[1:]} voxels"
    return ""


def _shape(stem: Path, array: str) -> tuple[int, ...] | None:
    """Shape of a blosc2 or numpy file of nnU-Net, or None where there is none that opens."""
    try:
        if (file := stem.with_name(stem.name + ".b2nd")).exists():
            return tuple(blosc2.open(urlpath=str(file), mode="r").shape)
        if (file := stem.with_name(stem.name + ".npz")).exists():
            with np.load(file) as archive:
                return tuple(archive[array].shape)
    except Exception:  # blosc2 raises several unrelated types on a damaged file
        return None
    return None


def explain(stage: PreviousStage, problems: dict[str, str], splits: Sequence[dict[str, list[str]]]) -> str:
    """What is missing, which folds make it, and the commands that do.

    Args:
        stage: the stage before the cascade.
        problems: from :func:`unusable_predictions`, not empty.
        splits: content of ``splits_final.json``.
    """
    model, next_model = stage.model, stage.next_model
    cases = sorted(problems)
    shown = "; ".join(f"{case}: {problems[case]}" for case in cases[:SHOWN])
    rest = f"; and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
    lines = [
        f"{next_model.configuration} needs a prediction of {model.trainer}, {model.configuration}, for every case, "
        f"but {len(cases)} have none that can be used ({shown}{rest}).",
        "Run:",
    ]
    if any("preprocessed" in problem for problem in problems.values()):
        lines.append(
            f"  nnunet_kits preprocess -d {model.dataset_id} -p {model.plans} -c {stage.preprocess_configuration}"
        )
    if (model.fold("all") / FINAL).is_file():
        lines.append(
            f"  {stage.train_command('all', '--val')}   # or, better, the folds: fold all predicts its own cases"
        )
    for fold, split in enumerate(splits):
        hit = sorted(set(split["val"]) & set(cases))
        if hit:
            finished = (model.fold(fold) / FINAL).is_file()
            note = f"# {len(hit)} of the missing cases" + (
                "; the fold is trained, so it only predicts" if finished else ""
            )
            lines.append(f"  {stage.train_command(fold, '--val' if finished else '')}   {note}")
    lines.append(f"or all of it: nnunet_kits cascade -d {model.dataset_id} -p {model.plans} -tr {next_model.trainer}")
    return "\n".join(lines)
