"""The folder of a trained model: how nnU-Net names it, and what its training leaves there."""

from dataclasses import dataclass
from pathlib import Path

SEPARATOR = "__"
"""Stands between the parts of a model folder's name, so it must stand in none of them."""

FINAL, LATEST, BEST = "checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_best.pth"
"""Checkpoints of a fold: of a training that is finished, of one that is not, and that of its best epoch."""


@dataclass(frozen=True)
class ModelFolder:
    """``nnUNet_results/<dataset>/<trainer>__<plans>__<configuration>``; it need not exist.

    Attributes:
        dataset_folder: ``nnUNet_results/DatasetNNN_Name``.
        trainer: name of the trainer.
        plans: name of the plans.
        configuration: name of the configuration.
    """

    dataset_folder: Path
    trainer: str
    plans: str
    configuration: str

    @classmethod
    def at(cls, folder: Path) -> "ModelFolder | None":
        """Take a folder's name apart; None where it is not the name of a model's."""
        path = folder.resolve()
        return cls.named(path.parent, path.name)

    @classmethod
    def named(cls, dataset_folder: Path, name: str) -> "ModelFolder | None":
        """The model with this name of a folder; None where no model has such a name."""
        parts = name.split(SEPARATOR)
        return cls(dataset_folder, *parts) if len(parts) == 3 else None

    @property
    def path(self) -> Path:
        """The folder."""
        return self.dataset_folder / SEPARATOR.join((self.trainer, self.plans, self.configuration))

    @property
    def dataset_id(self) -> int:
        """Number of the dataset."""
        return int(self.dataset_folder.name.removeprefix("Dataset")[:3])

    def fold(self, fold: int | str) -> Path:
        """Folder of one fold, 0 to 4 or ``all``."""
        return self.path / f"fold_{fold}"


def model_folders(dataset_folder: Path) -> list[ModelFolder]:
    """The models that ``nnUNet_results/DatasetNNN_Name`` holds."""
    names = sorted(path.name for path in dataset_folder.iterdir() if path.is_dir())
    return [found for name in names if (found := ModelFolder.named(dataset_folder, name))]


def fold_folders(folder: Path) -> dict[str, Path]:
    """Fold (``0``, ``all``) -> its folder, for the folds that a model's folder holds."""
    return {path.name.removeprefix("fold_"): path for path in sorted(folder.glob("fold_*")) if path.is_dir()}
