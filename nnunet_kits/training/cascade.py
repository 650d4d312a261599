"""The low-resolution predictions that the full-resolution stage of a cascade is trained on.

nnU-Net's final validation of a low-resolution fold writes, for that fold's validation cases only, one file per case
into ``predicted_next_stage``. The next stage needs one for every case, so all folds must have been validated, and the
full-resolution data must have been preprocessed before. Here they are checked, and what is missing is said in commands.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import blosc2
import numpy as np

from nnunet_kits.training import checkpoints

SHOWN = 8
"""How many cases a message names before it counts the rest."""


@dataclass(frozen=True)
class PreviousStage:
    """Where one cascade training finds the stage before it.

    Attributes:
        dataset_id: number of the dataset.
        plans: plans name.
        configuration: the low-resolution configuration.
        trainer: its trainer.
        next_trainer: trainer of the full-resolution stage.
        model_folder: ``nnUNet_results/<dataset>/<trainer>__<plans>__<configuration>``.
        next_configuration: the full-resolution configuration.
        preprocessed_folder: preprocessed data of the full-resolution configuration.
        preprocess_configuration: configuration whose preprocessing makes that data.
    """

    dataset_id: int
    plans: str
    configuration: str
    trainer: str
    next_trainer: str
    model_folder: Path
    next_configuration: str
    preprocessed_folder: Path
    preprocess_configuration: str

    @property
    def predictions(self) -> Path:
        """Folder of the predictions, one ``<case>.b2nd`` (or ``.npz``) each."""
        return self.model_folder / "predicted_next_stage" / self.next_configuration

    def train_command(self, fold: int | str, flag: str = "") -> str:
        """The stock command that trains (or with ``--val`` only validates) a low-resolution fold."""
        command = f"nnUNetv2_train {self.dataset_id} {self.configuration} {fold} -p {self.plans} -tr {self.trainer}"
        return f"{command} {flag}" if flag else command


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
    cases = sorted(problems)
    shown = "; ".join(f"{case}: {problems[case]}" for case in cases[:SHOWN])
    rest = f"; and {len(cases) - SHOWN} more" if len(cases) > SHOWN else ""
    lines = [
        f"{stage.next_configuration} needs a prediction of {stage.trainer}, {stage.configuration}, for every case, "
        f"but {len(cases)} have none that can be used ({shown}{rest}).",
        "Run:",
    ]
    if any("preprocessed" in problem for problem in problems.values()):
        lines.append(
            f"  nnunet_kits preprocess -d {stage.dataset_id} -p {stage.plans} -c {stage.preprocess_configuration}"
        )
    if (stage.model_folder / "fold_all" / checkpoints.FINAL).is_file():
        lines.append(
            f"  {stage.train_command('all', '--val')}   # or, better, the folds: fold all predicts its own cases"
        )
    for fold, split in enumerate(splits):
        hit = sorted(set(split["val"]) & set(cases))
        if hit:
            finished = (stage.model_folder / f"fold_{fold}" / checkpoints.FINAL).is_file()
            note = f"# {len(hit)} of the missing cases" + (
                "; the fold is trained, so it only predicts" if finished else ""
            )
            lines.append(f"  {stage.train_command(fold, '--val' if finished else '')}   {note}")
    lines.append(f"or all of it: nnunet_kits cascade -d {stage.dataset_id} -p {stage.plans} -tr {stage.next_trainer}")
    return "\n".join(lines)
