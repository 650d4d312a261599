"""Trainers load by our loops unless they are told not to, and either way they make the same batches."""

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from small_data import small_dataset_json, small_plans, write_low_resolution_predictions

from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.augmentation.pipeline import STOCK_VARIABLE, Accelerated
from nnunet_kits.errors import TrainingError
from nnunet_kits.training.trainers import trainer_class

CPU = torch.device("cpu")


def trainer_of(name, configuration="3d_fullres", form="classes", **settings):
    given = {**small_plans(form, batch_size=6, kits_training=settings), "continue_training": False}
    trainer = trainer_class(name)(given, configuration, 0, small_dataset_json(form), CPU)
    if trainer.is_cascaded:
        folder = trainer.folder_with_segs_from_previous_stage
        write_low_resolution_predictions(folder, trainer.preprocessed_dataset_folder)
    trainer.initialize()
    return trainer


def batches_of(trainer):
    """Three training batches and one for validation, from one random state."""
    np.random.seed(0)
    torch.manual_seed(0)
    training, validation = trainer.get_dataloaders()
    return [*(next(training) for _ in range(3)), next(validation)]


@pytest.mark.parametrize(
    ("name", "configuration", "form"),
    [
        ("ResUNetTrainer", "3d_fullres", "regions"),
        ("PlannedUNetTrainer", "3d_cascade_fullres", "classes"),
        ("ResUNetTrainer", "2d", "ignore"),
        ("ResUNetTrainer_TumorFocus", "3d_cascade_fullres", "regions"),
        ("ResUNetTrainer_TripleBatch", "3d_fullres", "classes"),
        ("ResUNetTrainer_PositiveSlices", "2d", "classes"),
    ],
)
def test_every_sampling_makes_the_batches_that_it_makes_with_nnunets_loading(small, name, configuration, form):
    made = {fast: batches_of(trainer_of(name, configuration, form, fast_loading=fast)) for fast in (False, True)}
    for stock, ours in zip(*made.values(), strict=True):
        assert stock["keys"].tolist() == ours["keys"].tolist()
        assert (stock["data"] - ours["data"]).abs().max() <= 3e-4 * stock["data"].std()
        for theirs, own in zip(stock["target"], ours["target"], strict=True):
            assert theirs.dtype == own.dtype
            assert (theirs != own).float().mean() <= 1e-4


def loaders_of(trainer):
    return [augmenter.data_loader for augmenter in trainer.get_dataloaders()]


def test_trainers_load_by_our_loops_unless_a_setting_or_the_environment_says_otherwise(small, monkeypatch):
    for loader in loaders_of(trainer_of("PlannedUNetTrainer")):
        assert isinstance(loader, BoxLoader)
        assert isinstance(loader.transforms, Accelerated)
    for loader in loaders_of(trainer_of("PlannedUNetTrainer", fast_loading=False)):
        assert type(loader) is nnUNetDataLoader
        assert not isinstance(loader.transforms, Accelerated)
    monkeypatch.setenv(STOCK_VARIABLE, "1")
    for loader in loaders_of(trainer_of("PlannedUNetTrainer")):
        assert type(loader) is nnUNetDataLoader
        assert not isinstance(loader.transforms, Accelerated)


def test_the_static_transforms_called_as_nnunet_calls_them_are_ours():
    given = ((32, 32, 32), (-0.5, 0.5), [[1, 1, 1], [0.5, 0.5, 0.5]], (0, 1, 2), False)
    assert isinstance(trainer_class("ResUNetTrainer").get_training_transforms(*given, regions=[(1, 2)]), Accelerated)
    assert isinstance(trainer_class("ResUNetTrainer").get_validation_transforms(None), Accelerated)


def test_a_setting_that_is_no_switch_is_refused(small):
    with pytest.raises(TrainingError, match=r"kits_training\.fast_loading is 'no', but must be true or false"):
        trainer_of("ResUNetTrainer", fast_loading="no")
