"""Trainers load by our loops unless they are told not to, and either way they make the same batches."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from small_data import small_dataset_json, small_plans, write_low_resolution_predictions
from small_plans import dataset_json

from nnunet_kits import augmentation
from nnunet_kits.augmentation import pipeline
from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.augmentation.pipeline import STOCK_VARIABLE, Accelerated
from nnunet_kits.augmentation.set_spatial import SetSpatial
from nnunet_kits.augmentation.set_steps import Within
from nnunet_kits.augmentation.spatial import FusedSet
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
    ("name", "configuration", "form", "augmentation"),
    [
        ("ResUNetTrainer", "3d_fullres", "regions", "nnunet"),
        ("PlannedUNetTrainer", "3d_cascade_fullres", "classes", "nnunet"),
        ("ResUNetTrainer", "2d", "ignore", "nnunet"),
        ("ResUNetTrainer_TumorFocus", "3d_cascade_fullres", "regions", "nnunet"),
        ("ResUNetTrainer_TripleBatch", "3d_fullres", "classes", "nnunet"),
        ("ResUNetTrainer_PositiveSlices", "2d", "classes", "nnunet"),
        ("ResUNetTrainer", "3d_fullres", "regions", "chen_zhang"),
        ("ResUNetTrainer_TripleBatch", "3d_fullres", "classes", "zhang"),
        ("ResUNetTrainer", "2d", "ignore", "beheshtifard"),
        ("ResUNetTrainer_PositiveSlices", "2d", "classes", "chen_jin"),
        ("PlannedUNetTrainer", "3d_cascade_fullres", "classes", "zhang"),
    ],
)
def test_every_sampling_and_set_makes_the_batches_that_it_makes_with_nnunets_loading(
    small, name, configuration, form, augmentation
):
    made = {
        fast: batches_of(trainer_of(name, configuration, form, fast_loading=fast, augmentation=augmentation))
        for fast in (False, True)
    }
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


# named sets of augmentations


def spatial_of(trainer):
    return trainer.get_dataloaders()[0].data_loader.transforms.transforms[0]


def log_of(trainer):
    return Path(trainer.log_file).read_text()


def test_a_named_set_is_used_in_training_and_not_in_validation(small):
    trainer = trainer_of("PlannedUNetTrainer", augmentation="chen_zhang", form="regions")
    training, validation = loaders_of(trainer)
    assert isinstance(training.transforms.transforms[0], FusedSet)
    plain, usual = validation.transforms, loaders_of(trainer_of("PlannedUNetTrainer", form="regions"))[1].transforms
    assert [type(step) for step in plain.transforms] == [type(step) for step in usual.transforms]
    assert "Patches are augmented as the set chen_zhang says: crops of 0.6 to 1.3" in log_of(trainer)
    assert "Patches are augmented by our loops." in log_of(trainer)
    assert "left out" not in log_of(trainer)


@pytest.mark.parametrize("way", ["setting", "environment", "no numba"])
def test_a_named_set_is_used_without_our_loops_too_only_slower(small, way, monkeypatch):
    if way == "environment":
        monkeypatch.setenv(STOCK_VARIABLE, "1")
    if way == "no numba":
        monkeypatch.delitem(sys.modules, "nnunet_kits.augmentation.replacements", raising=False)
        monkeypatch.delattr(augmentation, "replacements", raising=False)
        monkeypatch.setitem(sys.modules, "nnunet_kits.augmentation.filters", None)
    pipeline.warn_once.cache_clear()
    trainer = trainer_of("ResUNetTrainer", augmentation="chen_zhang", fast_loading=way != "setting")
    spatial = spatial_of(trainer)
    assert type(spatial) is SetSpatial
    assert next(trainer.get_dataloaders()[0])["data"].shape == (6, 1, 16, 24, 24)
    assert "Patches are augmented as the set chen_zhang says" in log_of(trainer)
    assert "our loops" not in log_of(trainer)


def test_steps_for_lesions_are_left_out_where_a_dataset_has_none_and_the_log_says_so(small):
    given = {**small_plans("classes", kits_training={"augmentation": "chen_zhang"}), "continue_training": False}
    trainer = trainer_class("ResUNetTrainer")(given, "3d_fullres", 0, dataset_json({"background": 0, "kidney": 1}), CPU)
    trainer.initialize()
    steps = trainer.get_dataloaders()[0].data_loader.transforms.transforms
    assert not [step for step in steps if isinstance(step, Within)]
    assert "Its steps for cyst, mass, tumor are left out: the dataset has none of them." in log_of(trainer)


@pytest.mark.parametrize(
    ("settings", "trained", "predicted"),
    [
        ({}, (0, 1, 2), (0, 1, 2)),
        ({"augmentation": "chen_zhang"}, None, None),
        ({"augmentation": "beheshtifard"}, (1, 2), (1, 2)),
        ({"augmentation": "beheshtifard", "mirror_axes": [0]}, (0,), (0,)),
        ({"augmentation": "chen_zhang", "prediction_mirror_axes": [0]}, None, (0,)),
    ],
)
def test_a_set_says_what_is_mirrored_unless_the_plans_do(small, settings, trained, predicted):
    trainer = trainer_of("ResUNetTrainer", **settings)
    *_, axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    assert axes == trained
    assert trainer.inference_allowed_mirroring_axes == predicted
    steps = trainer.get_dataloaders()[0].data_loader.transforms.transforms
    assert [step.allowed_axes for step in steps if isinstance(step, MirrorTransform)] == ([trained] if trained else [])


def test_noise_in_hu_is_in_the_units_of_the_plans(small):
    steps = trainer_of("ResUNetTrainer", "2d", augmentation="beheshtifard").get_dataloaders()[0].data_loader.transforms
    (noise,) = (step.transform for step in steps.transforms if isinstance(step, RandomTransform))
    assert noise.noise_variance.variance == (10 / 80**2, 50 / 80**2)  # the deviation in these plans is 80 HU


def test_noise_in_hu_is_refused_where_units_differ_from_case_to_case(small):
    changes = {"normalization_schemes": ["ZScoreNormalization"], "kits_training": {"augmentation": "beheshtifard"}}
    given = {**small_plans("classes", **changes), "continue_training": False}
    trainer = trainer_class("ResUNetTrainer")(given, "2d", 0, small_dataset_json("classes"), CPU)
    trainer.initialize()
    with pytest.raises(TrainingError, match=r"beheshtifard is in HU, but ZScoreNormalization normalises"):
        trainer.get_dataloaders()


def test_an_unknown_augmentation_is_refused_with_those_that_exist(small, tmp_path):
    with pytest.raises(
        TrainingError,
        match=r"kits_training\.augmentation is 'zang', but must be one of beheshtifard, .*, zhang, or a .json",
    ):
        trainer_of("ResUNetTrainer", augmentation="zang")
    with pytest.raises(TrainingError, match=r"there is no augmentation '.*mine.json'. Known: beheshtifard"):
        trainer_of("ResUNetTrainer", augmentation=str(tmp_path / "mine.json"))


def test_a_file_of_ones_own_is_a_set(small, tmp_path):
    file = tmp_path / "mine.json"
    turned = {"kind": "rotation", "probability": 1, "degrees": [90, 90], "about": ["z"]}
    file.write_text(json.dumps({"summary": "turned", "source": ["ours"], "mirror": [], "steps": [turned]}))
    trainer = trainer_of("ResUNetTrainer", augmentation=str(file))
    assert spatial_of(trainer).draw(torch.empty(1, 20, 30, 30))["degrees"] == {"z": 90}
    assert "Patches are augmented as the set mine says: turned." in log_of(trainer)
