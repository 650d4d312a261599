import json

import numpy as np
import pytest
import torch
from small_plans import CLASSES, REGIONS, architecture, cascade_plans, configuration, dataset_json, plans

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.errors import TrainerNameError, TrainingError
from nnunet_kits.model_folder import FINAL, LATEST
from nnunet_kits.training import checkpoints
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.sampling import SAMPLINGS
from nnunet_kits.training.trainers import NAMED_TRAINERS, trainer_class

CPU = torch.device("cpu")


def make(name="ResUNetTrainer", given=None, configuration_name="3d_fullres", labels=CLASSES, fold=0):
    return trainer_class(name)(given or plans(), configuration_name, fold, dataset_json(labels), device=CPU)


def initialised(trainer):
    """As ``initialize``, without the preprocessed folder that it wants to look into."""
    folder = trainer.preprocessed_dataset_folder
    from pathlib import Path

    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "case.b2nd").touch()
    trainer.initialize()
    return trainer


@pytest.mark.parametrize("name", NAMED_TRAINERS)
def test_nnunet_itself_finds_our_trainers(nnunet, name):
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    assert recursive_find_trainer_class_by_name(name) is trainer_class(name)


def test_nnunet_shows_our_message_for_a_misspelt_part(nnunet):
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with pytest.raises(TrainerNameError, match="Did you mean 'AdamWCosine'"):
        recursive_find_trainer_class_by_name("ResUNetTrainer_AdamCosine")


def test_a_misspelt_network_is_left_to_nnunet_with_a_hint(nnunet, capsys):
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    with pytest.raises(RuntimeError, match="Could not find requested nnunet trainer ResUnetTrainer"):
        recursive_find_trainer_class_by_name("ResUnetTrainer")
    assert "Did you mean ResUNetTrainer?" in capsys.readouterr().err


def plans_for(name, settings=None):
    """Plans that suit a trainer: 2D or 3D, a batch that its sampling can make, and their configuration's name."""
    parts = parse_trainer_name(name)
    batch = SAMPLINGS[parts.sampling].images_per_case * 2
    changes = {"batch_size": batch, "kits_training": {"imagenet_weights": "none", **(settings or {})}}
    published = PUBLISHED[parts.published].dimensions if parts.published else None
    if (published or 2 + (not parts.network.endswith("2D"))) == 2:
        flat = {"patch_size": [32, 32], "spacing": [2.0, 2.0], "architecture": architecture(dimensions=2)}
        return plans(**{"2d": configuration(**{**flat, **changes})}), "2d"
    return plans(**{"3d_fullres": configuration(**changes)}), "3d_fullres"


def random_batch(trainer, labels):
    """Images and targets of random numbers, at the resolutions that the trainer wants targets at."""
    patch, batch = trainer.configuration_manager.patch_size, trainer.batch_size
    channels, values = (3, 2) if labels is REGIONS else (1, 4)
    targets = [
        torch.randint(0, values, (batch, channels, *(round(edge * f) for edge, f in zip(patch, scale, strict=True))))
        for scale in trainer._get_deep_supervision_scales() or [[1] * len(patch)]
    ]
    targets = [target.float() for target in targets]
    return {
        "data": torch.randn(batch, trainer.num_input_channels, *patch),
        "target": targets if trainer.enable_deep_supervision else targets[0],
    }


@pytest.mark.parametrize("labels", [CLASSES, REGIONS])
@pytest.mark.parametrize("name", [*NAMED_TRAINERS, *(f"{network}Trainer_Mixup" for network in NETWORKS)])
def test_a_trainer_brings_its_network_to_any_plans_and_trains_and_validates_a_step(nnunet, name, labels):
    weights = [1, 2, 3] if labels is REGIONS else [1, 1, 2, 3]
    trainer = initialised(make(name, *plans_for(name, {"class_weights": weights}), labels=labels))
    network = parse_trainer_name(name).network
    assert type(trainer.network).__name__ == ("PlainConvUNet" if network == "PlannedUNet" else network)
    batch = random_batch(trainer, labels)
    assert np.isfinite(trainer.train_step(batch)["loss"])
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(batch)["loss"])


def test_a_2d_configuration_gets_a_2d_network(nnunet):
    flat = configuration(patch_size=[24, 24], spacing=[2.0, 2.0], architecture=architecture(dimensions=2))
    trainer = initialised(make(given=plans(**{"2d": flat}), configuration_name="2d"))
    assert trainer.network(torch.randn(1, 1, 24, 24))[0].shape == (1, 4, 24, 24)


def test_the_cascade_gets_a_channel_per_foreground_label(nnunet):
    trainer = initialised(make(given=cascade_plans(), configuration_name="3d_cascade_fullres"))
    assert trainer.num_input_channels == 4


def test_epochs_settings_and_learning_rate_come_from_name_and_plans(nnunet):
    settings = {"num_iterations_per_epoch": 7, "initial_lr": 0.02, "save_every": 3}
    given = plans(**{"3d_fullres": configuration(kits_training=settings)})
    trainer = initialised(make("ResUNetTrainer_AdamWCosine_4epochs", given))
    assert (trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.save_every) == (4, 7, 3)
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    rates = []
    for epoch in range(5):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.02 * (1 + np.cos(np.pi * e / 4)) / 2 for e in range(5)])


def test_without_settings_everything_but_the_network_and_checkpoints_is_nnunets_own(nnunet):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    stock = initialised(nnUNetTrainer(plans(), "3d_fullres", 0, dataset_json(), device=CPU))
    ours = initialised(make())
    for attribute in ("num_epochs", "num_iterations_per_epoch", "initial_lr", "weight_decay"):
        assert getattr(ours, attribute) == getattr(stock, attribute)
    assert type(ours.optimizer) is type(stock.optimizer)
    assert type(ours.lr_scheduler) is type(stock.lr_scheduler)
    assert ours.optimizer.defaults == stock.optimizer.defaults
    assert (stock.save_every, ours.save_every) == (50, 10)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS])
def test_a_loss_built_by_us_is_weighted_over_scales_as_nnunet_weights_its_own(nnunet, labels):
    from nnunet_kits.losses import LossTask
    from nnunet_kits.losses.dice_ce import dice_ce

    trainer = initialised(make(labels=labels))
    ours = trainer._deeply_supervised(dice_ce(LossTask(labels is REGIONS, None, False, False)))
    heads = 3 if labels is REGIONS else 4
    logits = [torch.randn(2, heads, 16 // s, 24 // s, 24 // s) for s in (1, 2, 4)]
    shape = 3 if labels is REGIONS else 1
    target = [torch.randint(0, 2, (2, shape, 16 // s, 24 // s, 24 // s)).float() for s in (1, 2, 4)]
    assert torch.equal(ours(logits, target), trainer.loss(logits, target))


@pytest.mark.parametrize(
    ("settings", "augmented", "predicted"),
    [
        ({}, (0, 1, 2), (0, 1, 2)),
        ({"mirror_axes": [2]}, (2,), (2,)),
        ({"mirror_axes": []}, None, None),
        ({"prediction_mirror_axes": []}, (0, 1, 2), None),
        ({"mirror_axes": [1, 2], "prediction_mirror_axes": [2]}, (1, 2), (2,)),
    ],
)
def test_mirroring_is_nnunets_unless_the_plans_say_otherwise(nnunet, settings, augmented, predicted):
    trainer = make(given=plans(**{"3d_fullres": configuration(kits_training=settings)}))
    assert trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[3] == augmented
    assert trainer.inference_allowed_mirroring_axes == predicted


def test_plans_without_a_topology_are_refused(nnunet):
    given = configuration()
    del given["architecture"]["arch_kwargs"]["strides"]
    with pytest.raises(TrainingError, match="without strides, from which ResUNet takes its topology"):
        make(given=plans(**{"3d_fullres": given})).initialize()


def test_too_few_stages_for_deep_supervision_are_refused(nnunet):
    given = plans(**{"3d_fullres": configuration(architecture=architecture(stages=2))})
    with pytest.raises(TrainingError, match="have 2 stages, but deep supervision needs at least 3"):
        make(given=given).initialize()


def test_an_after_trainer_reads_the_other_trainers_predictions(nnunet):
    trainer = make("ResUNetTrainer_after_nnUNetTrainer_5epochs", cascade_plans(), "3d_cascade_fullres")
    assert trainer.folder_with_segs_from_previous_stage.endswith(
        "Dataset220_KiTS2023/nnUNetTrainer_5epochs__SmallPlans__3d_lowres/predicted_next_stage/3d_cascade_fullres"
    )
    with pytest.raises(TrainingError, match=r"configuration 3d_lowres has none. Train it with ResUNetTrainer"):
        make("ResUNetTrainer_after_PlainUNetTrainer", cascade_plans(), "3d_lowres")


def test_a_checkpoint_comes_back_whole_and_a_damaged_one_falls_back_when_training_goes_on(nnunet):
    from pathlib import Path

    trainer = initialised(make())
    folder = Path(trainer.output_folder)
    for epoch in (0, 1):
        trainer.current_epoch = epoch
        with torch.no_grad():
            trainer.network.decoder.seg_layers[0].bias.fill_(epoch)
        trainer.save_checkpoint(str(folder / LATEST))
    assert sorted(p.name for p in folder.glob("*.pth*")) == [LATEST, checkpoints.PREVIOUS]

    latest = folder / LATEST
    fresh = initialised(make())
    fresh.load_checkpoint(str(latest))
    assert (fresh.current_epoch, float(fresh.network.decoder.seg_layers[0].bias.detach()[0])) == (2, 1.0)

    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    latest.write_bytes(content)
    with pytest.raises(TrainingError, match=r"checkpoint_latest.pth: the checkpoint is damaged. Continue"):
        initialised(make()).load_checkpoint(str(latest))
    going_on = initialised(make(given={**plans(), "continue_training": True}))
    going_on.load_checkpoint(str(latest))
    assert going_on.current_epoch == 1
    assert "going on from checkpoint_previous.pth" in Path(going_on.log_file).read_text()
    (folder / checkpoints.PREVIOUS).unlink()
    with pytest.raises(TrainingError, match=r"holds no other good one. Delete it and train again"):
        initialised(make(given={**plans(), "continue_training": True})).load_checkpoint(str(latest))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_and_no_rubbish(nnunet, monkeypatch):
    from pathlib import Path

    trainer = initialised(make())
    latest = Path(trainer.output_folder) / LATEST
    trainer.save_checkpoint(str(latest))
    before = latest.read_bytes()

    def full_disk(content, file):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        trainer.save_checkpoint(str(latest))
    assert latest.read_bytes() == before
    assert not list(latest.parent.glob("*.part"))


def test_stock_nnunet_loads_our_checkpoint_without_our_loader(nnunet):
    from pathlib import Path

    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = initialised(make("PlainUNetTrainer"))
    file = str(Path(trainer.output_folder) / FINAL)
    trainer.save_checkpoint(file)
    stock = initialised(nnUNetTrainer(plans(), "3d_fullres", 0, dataset_json(), device=CPU))
    stock.load_checkpoint(file)
    for ours, theirs in zip(trainer.network.parameters(), stock.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_plans_key_for_our_settings_is_invisible_to_nnunet(nnunet):
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    given = plans(**{"3d_fullres": configuration(kits_training={"save_every": 2})})
    manager = PlansManager(json.loads(json.dumps(given)))
    assert manager.get_configuration("3d_fullres").patch_size == [16, 24, 24]
