"""Trainers on the small dataset, through nnU-Net's own loop: they train, validate, resume and predict."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.run.run_training import maybe_load_checkpoint
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from small_data import CASES, FORMS, small_dataset_json, small_plans, write_low_resolution_predictions
from typed import work_in_threads

from nnunet_kits.architectures import pretrained
from nnunet_kits.errors import TrainingError
from nnunet_kits.model_folder import FINAL, LATEST
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.sampling import SAMPLINGS

CPU = torch.device("cpu")
FEW = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1, "imagenet_weights": "none"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:invalid value encountered:RuntimeWarning",  # nnU-Net divides 0 by 0 for a class that no patch shows
        "ignore:Mean of empty slice:RuntimeWarning",
    ),
]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """nnU-Net draws its progress in a picture of 30 x 54 inches after every epoch: seconds each."""
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)


def make(name, form="classes", configuration="3d_fullres", continues=False, settings=None, **changes):
    given = small_plans(form, kits_training={**FEW, **(settings or {})}, **changes)
    trainer = recursive_find_trainer_class_by_name(name)
    return trainer({**given, "continue_training": continues}, configuration, 0, small_dataset_json(form), device=CPU)


def kill_at(trainer, epoch):
    """Train, and be killed when this epoch begins."""
    begin = trainer.on_epoch_start

    def begin_or_die():
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        begin()

    trainer.on_epoch_start = begin_or_die
    with pytest.raises(KeyboardInterrupt):
        trainer.run_training()


def resumed(trainer, **options):
    """Another trainer as ``--c`` makes it, and the checkpoint it went on from."""
    other = make(type(trainer).__name__, continues=True, **options)
    maybe_load_checkpoint(other, continue_training=True, validation_only=False)
    return other


def assert_same_state(one, other):
    """Weights, what the optimiser keeps of every weight, the logged losses, and the rate of the next epoch."""
    assert one.current_epoch == other.current_epoch
    assert one._logged("train_losses") == other._logged("train_losses")
    assert one._logged("val_losses") == other._logged("val_losses")
    for ours, theirs in zip(one.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        mine, yours = (trainer.optimizer.state[weights] for trainer, weights in ((one, ours), (other, theirs)))
        assert mine.keys() == yours.keys()
        assert all(torch.equal(torch.as_tensor(mine[key]), torch.as_tensor(yours[key])) for key in mine)
    for trainer in (one, other):
        trainer.lr_scheduler.step(trainer.current_epoch)
    assert one.optimizer.param_groups[0]["lr"] == other.optimizer.param_groups[0]["lr"]


def predict(trainer, root, form, case=CASES[-1]):
    """A case's labels, predicted from the model folder as nnU-Net's predictor loads it."""
    predictor = nnUNetPredictor(use_mirroring=False, device=CPU, perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,), FINAL)
    image = root / "nnUNet_raw" / FORMS[form][0] / "imagesTr" / f"{case}_0000.nii.gz"
    data, properties = trainer.plans_manager.image_reader_writer_class().read_images([str(image)])
    found = predictor.predict_single_npy_array(data, properties)
    assert found.shape == data.shape[1:]
    return found


PUBLISHED_RUNS = [
    (f"{name}_2epochs", "regions" if number % 2 else "classes", f"{found.dimensions}d")
    for number, (name, found) in enumerate(PUBLISHED.items())
]
COMPOSED_RUNS = [
    ("PreActResUNetTrainer_FocalTversky_AdamWCosine_2epochs", "ignore", "3d"),
    ("PlannedUNetTrainer_TumorFocus_Mixup_2epochs", "regions", "3d"),
    ("ResUNetTrainer_DiceTopK_AdamPlateauTrain_2epochs", "ignore", "3d"),
    ("PlainUNetTrainer_PositiveSlices_AdamPlateauVal_2epochs", "ignore", "2d"),
    ("RecursiveUNet2DTrainer_TripleBatch_Adam_2epochs", "classes", "2d"),
]
CONFIGURATIONS = {"2d": "2d", "3d": "3d_fullres"}


@pytest.mark.parametrize(("name", "form", "dimensions"), [*PUBLISHED_RUNS, *COMPOSED_RUNS])
def test_a_trainer_is_found_trains_is_killed_goes_on_where_it_was_and_its_model_predicts(
    small, name, form, dimensions, monkeypatch
):
    monkeypatch.setattr(pretrained, "ENCODER", "mobilenet_v2")  # a ResNet34's checkpoints are 300 MB each
    options = {"form": form, "configuration": CONFIGURATIONS[dimensions], "settings": {"save_every": 1}}
    options["batch_size"] = 2 * SAMPLINGS[parse_trainer_name(name).sampling].images_per_case
    killed = make(name, **options)
    kill_at(killed, epoch=1)
    again = resumed(killed, **options)
    assert again.current_epoch == 1
    assert_same_state(killed, again)
    again.run_training()
    assert again.current_epoch == 2
    losses = [*again._logged("train_losses"), *again._logged("val_losses")]
    assert len(losses) == 4
    log = Path(again.log_file).read_text()
    assert "Loading: the network takes" in log
    assert "from the training process itself" in log
    assert np.isfinite(losses).all()
    assert set(np.unique(predict(again, small, form))) <= {0, 1, 2, 3}


def test_a_training_without_deep_supervision_and_with_a_limit_of_its_own_goes_on_validates_and_predicts(
    small, monkeypatch
):
    settings = {"deep_supervision": False, "gradient_clipping": "none", "mixed_precision": False, "save_every": 1}
    options = {"settings": settings}
    killed = make("PlannedUNetTrainer_2epochs", **options)
    kill_at(killed, epoch=1)
    again = resumed(killed, **options)
    assert_same_state(killed, again)
    again.run_training()
    assert np.isfinite(again._logged("val_losses")).all()
    work_in_threads(monkeypatch)
    again.perform_actual_validation()
    assert (Path(again.output_folder) / "validation" / "summary.json").is_file()
    assert set(np.unique(predict(again, small, "classes"))) <= {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("name", "form", "configuration", "augmentation"),
    [
        ("ResUNetTrainer_1epochs", "regions", "3d_fullres", "chen_zhang"),
        ("ResUNetTrainer_TripleBatch_1epochs", "classes", "3d_fullres", "zhang"),
        ("RecursiveUNet2DTrainer_TripleBatch_1epochs", "ignore", "2d", "zhang"),
        ("RecursiveUNet2DTrainer_1epochs", "regions", "2d", "beheshtifard"),
        ("RecursiveUNet2DTrainer_1epochs", "classes", "2d", "beheshtifard_tumor"),
        ("RecursiveUNet2DTrainer_PositiveSlices_1epochs", "classes", "2d", "chen_jin"),
    ],
)
def test_an_epoch_is_trained_with_every_set_of_augmentations(small, name, form, configuration, augmentation):
    batch = 2 * SAMPLINGS[parse_trainer_name(name).sampling].images_per_case
    settings = {"augmentation": augmentation}
    trainer = make(name, form, configuration, settings=settings, batch_size=batch)
    trainer.run_training()
    assert np.isfinite([*trainer._logged("train_losses"), *trainer._logged("val_losses")]).all()
    assert f"Patches are augmented as the set {augmentation} says" in Path(trainer.log_file).read_text()


def test_a_cascade_trains_on_another_trainers_predictions_is_killed_and_goes_on(small):
    name = "PreActResUNetTrainer_UnifiedFocal_TumorFocus_AdamPlateauVal_Mixup_2epochs_after_nnUNetTrainer"
    options = {"form": "regions", "configuration": "3d_cascade_fullres", "settings": {"save_every": 1}}
    killed = make(name, **options)
    write_low_resolution_predictions(killed.folder_with_segs_from_previous_stage, killed.preprocessed_dataset_folder)
    assert "/nnUNetTrainer__SmallPlans__3d_lowres/" in killed.folder_with_segs_from_previous_stage
    kill_at(killed, epoch=1)
    again = resumed(killed, **options)
    assert_same_state(killed, again)
    again.run_training()
    assert np.isfinite(again._logged("val_losses")).all()
    assert again.num_input_channels == 4


def test_a_new_training_begins_from_imagenet_and_one_that_goes_on_does_not(small, tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(pretrained, "ENCODER", "mobilenet_v2")
    monkeypatch.setattr(pretrained.ResNet34UNet2D, "load_imagenet_encoder", lambda self, file=None: loaded.append(file))
    weights = tmp_path / "resnet34.pth"
    weights.touch()
    for setting, expected in (("none", []), ("hub", [None]), (str(weights), [str(weights)])):
        trainer = make("ResNet34UNet2DTrainer", configuration="2d", settings={"imagenet_weights": setting})
        trainer.initialize()
        assert loaded == expected
        loaded.clear()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / LATEST))
    options = {"configuration": "2d", "settings": {"imagenet_weights": str(weights)}}
    resumed(trainer, **options)
    assert loaded == []
    missing = {"imagenet_weights": str(tmp_path / "lost.pth")}
    with pytest.raises(TrainingError, match=r"lost.pth, which is no file. Give a file, 'hub' to download the weights"):
        make("ResNet34UNet2DTrainer", configuration="2d", settings=missing)


def test_a_missing_extra_is_named_before_any_data_is_loaded(small, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    trainer = make("BeheshtifardResNet34Trainer", configuration="2d")
    with pytest.raises(TrainingError, match=r"pip install 'nnunet_kits\[smp\]'"):
        trainer.run_training()
    assert trainer.dataloader_train is None
