"""What a model folder tells about its training: nnU-Net's own text logs, plans and checkpoints."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases.records import read_record
from nnunet_kits.errors import KitsError
from nnunet_kits.model_folder import BEST, FINAL, LATEST, ModelFolder, fold_folders
from nnunet_kits.status.training_log import History, read_history


@dataclass(frozen=True)
class TrainedModel:
    """A folder ``Trainer__Plans__configuration``.

    Attributes:
        name: of the folder.
        histories: fold -> its training, for folds that have a log.
        facts: (name, value), for the report.
    """

    name: str
    histories: dict[str, History]
    facts: list[tuple[str, str]]


def read_model(folder: Path) -> TrainedModel:
    """Read what was trained and how far.

    Args:
        folder: ``nnUNet_results/DatasetNNN_Name/Trainer__Plans__configuration``.

    Raises:
        KitsError: not the folder of a model, or its plans cannot be read.
    """
    model = ModelFolder.at(folder)
    if model is None or not (folder / "plans.json").is_file():
        raise KitsError(
            f"{folder}: not the folder of a model. Name one like nnUNet_results/Dataset220_KiTS2023/"
            "ResUNetTrainer__KiTSCascadePlans__3d_fullres."
        )
    plans = read_record(folder / "plans.json")
    if plans is None:
        raise KitsError(f"{folder / 'plans.json'}: cannot be read. Copy it from nnUNet_preprocessed again.")
    dataset = plans.get("dataset_name", "unknown dataset")
    folds = fold_folders(folder)
    facts = [(f"Model {model.configuration}", f"`{model.trainer}`, plans `{model.plans}`, {dataset}")]
    facts += [(f"{model.configuration}, fold {fold}", _state(path)) for fold, path in folds.items()]
    histories = {fold: read_history(path) for fold, path in folds.items()}
    return TrainedModel(model.path.name, {k: h for k, h in histories.items() if h.train_loss}, facts)


def _state(fold: Path) -> str:
    """Which checkpoint there is, with the beginning of its SHA-256, and how many epochs were trained."""
    epochs = len(read_history(fold).train_loss)
    for name in (FINAL, LATEST, BEST):
        if (fold / name).is_file():
            state = "" if name == FINAL else ", not finished"
            with (fold / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
            return f"`{name}`{state}, SHA-256 `{digest}`" + (f", {epochs} epochs" if epochs else "")
    return "no checkpoint"
