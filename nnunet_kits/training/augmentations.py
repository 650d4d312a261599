"""A trainer's pipeline of the set of augmentations that its plans name."""

from typing import TYPE_CHECKING, Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_kits.augmentation.pipeline import accelerate
from nnunet_kits.augmentation.set_pipeline import pipeline
from nnunet_kits.augmentation.sets import AugmentationSet
from nnunet_kits.errors import TrainingError
from nnunet_kits.intensity import planned_intensity

if TYPE_CHECKING:
    from nnunet_kits.training.base import KitsTrainer


def training_transforms(
    trainer: "KitsTrainer", chosen: AugmentationSet, patch_size: Any, *given: Any, **options: Any
) -> BasicTransform:
    """The training pipeline of a set, called with what nnU-Net calls its own with; the log says so.

    Raises:
        TrainingError: the set is in HU, and the plans do not say what these become.
    """
    labels = trainer.dataset_json["labels"]
    stock = nnUNetTrainer.get_training_transforms(patch_size, *given, **options)
    made = pipeline(chosen, patch_size, stock, labels, unit_hu(trainer) if chosen.is_in_hu else 1.0)
    left_out = ", ".join(chosen.missing_labels(labels))
    trainer.print_to_log_file(
        f"Patches are augmented as the set {chosen.name} says: {chosen.summary}."
        + (f" Its steps for {left_out} are left out: the dataset has none of them." if left_out else "")
    )
    return accelerate(made) if trainer.settings.fast_loading else made


def unit_hu(trainer: "KitsTrainer") -> float:
    """HU that are 1 for the network.

    Raises:
        TrainingError: that differs from case to case.
    """
    manager = trainer.configuration_manager
    planned = planned_intensity(trainer.plans_manager.plans, manager.configuration)
    if planned is None:
        raise TrainingError(
            f"plans, configuration {trainer.configuration_name}: the augmentation {trainer.settings.augmentation} is "
            f"in HU, but {manager.normalization_schemes[0]} normalises intensities case by case. Use plans with "
            "CTNormalization, or another augmentation."
        )
    return planned.std
