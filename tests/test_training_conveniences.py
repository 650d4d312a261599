"""Fine-tuning, longer trainings and experiment tracking by nnU-Net's own command line, in this process."""

import copy
import json
import math
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.experiment_planning.plans_for_pretraining.move_plans_between_datasets import move_plans_between_datasets
from nnunetv2.run.run_training import maybe_load_checkpoint, run_training_entry
from nnunetv2.training.logging import nnunet_logger
from nnunetv2.training.logging.nnunet_logger import MetaLogger, WandbLogger
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from small_data import FORMS, small_dataset_json, small_plans

from nnunet_kits.errors import KitsError, TrainingError
from nnunet_kits.model_folder import BEST, FINAL, LATEST, ModelFolder
from nnunet_kits.training.base import KitsTrainer
from nnunet_kits.training.fine_tuning import file_asked_for
from nnunet_kits.training.longer import finished_shorter
from nnunet_kits.training.tracking import check_mode
from nnunet_kits.training.trainers import trainer_class

CPU = torch.device("cpu")
FEW = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1}


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
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(nnUNetTrainer, "perform_actual_validation", lambda *_: None)  # starts a process


@pytest.fixture
def world(nnunet, small_datasets):
    """The small dataset in folders of its own, whose plans may change."""
    for folder in ("nnUNet_raw", "nnUNet_preprocessed"):
        for form in ("classes", "regions"):
            shutil.copytree(small_datasets / folder / FORMS[form][0], nnunet / folder / FORMS[form][0])
    return nnunet


def residual(stages=4, features=4):
    """A small network of the kind that nnU-Net's residual encoder presets plan."""
    plain = small_plans("classes")["configurations"]["3d_fullres"]["architecture"]
    kept = {key: value for key, value in plain["arch_kwargs"].items() if key != "n_conv_per_stage"}
    sizes = {"n_stages": stages, "features_per_stage": [features * 2**i for i in range(stages)]}
    per_stage = {key: value[:stages] for key, value in kept.items() if key in ("kernel_sizes", "strides")}
    return {
        **plain,
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {
            **{**kept, **sizes, **per_stage},
            **{"n_blocks_per_stage": [1, 2, 2, 2][:stages], "n_conv_per_stage_decoder": [1] * (stages - 1)},
        },
    }


def write_plans(world, form, name="SmallPlans", architecture=None, **settings):
    changes = {"architecture": architecture} if architecture else {}
    plans = small_plans(form, kits_training={**FEW, **settings}, **changes)
    del plans["continue_training"]
    file = world / "nnUNet_preprocessed" / FORMS[form][0] / f"{name}.json"
    file.write_text(json.dumps({**plans, "plans_name": name}))


def train(monkeypatch, trainer, *more, form="classes", configuration="3d_fullres", fold=0, plans="SmallPlans"):
    """``nnUNetv2_train``; returns the fold's folder."""
    words = [FORMS[form][0], configuration, fold, "-tr", trainer, "-p", plans, "-device", "cpu", *more]
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_train", *map(str, words)])
    run_training_entry()
    return folder_of(trainer, form, configuration, fold, plans)


def folder_of(trainer, form="classes", configuration="3d_fullres", fold=0, plans="SmallPlans"):
    results = Path(os.environ["nnUNet_results"]) / FORMS[form][0]
    return results / f"{trainer}__{plans}__{configuration}" / f"fold_{fold}"


def saved(folder, name=FINAL):
    return torch.load(folder / name, weights_only=False)


def log_of(folder):
    return "".join(file.read_text() for file in sorted(folder.glob("training_log_*.txt")))


def untrained(make, form="classes", configuration="3d_fullres", file="weights.pth", **changes):
    """A checkpoint of a new network, as a training leaves it."""
    plans = {**small_plans(form, **changes), "continue_training": False}
    trainer = make(plans, configuration, 0, small_dataset_json(form), device=CPU)
    trainer.initialize()
    path = Path(trainer.output_folder) / file
    trainer.save_checkpoint(str(path))
    return path


# fine-tuning


def assert_only_heads_are_new(found, given):
    old = saved(given.parent, given.name)["network_weights"]
    new = saved(found)["network_weights"]
    body = [key for key in new if ".seg_layers." not in key]
    assert 0 < len(body) < len(new)
    for key in body:
        torch.testing.assert_close(new[key], old[key], rtol=0, atol=1e-6)
    heads = [key for key in new if ".seg_layers." in key and key.endswith("weight")]
    assert not any(new[key].shape == old[key].shape and torch.equal(new[key], old[key]) for key in heads)


def test_the_plans_own_network_is_fine_tuned_from_a_stock_checkpoint_of_nnunets_residual_encoder(world, monkeypatch):
    write_plans(world, "classes", architecture=residual(), initial_lr=1e-12)
    given = untrained(nnUNetTrainer, architecture=residual())
    found = train(monkeypatch, "PlannedUNetTrainer_1epochs", "-pretrained_weights", given)
    assert_only_heads_are_new(found, given)
    log = log_of(found)
    assert f"Begins from {given} (nnUNetTrainer, 3d_fullres, SmallPlans, Dataset220_KiTS2023)" in log


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # nnU-Net tries its readers
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_ours_are_fine_tuned_on_another_dataset_with_the_plans_moved_there(world, monkeypatch):
    write_plans(world, "classes", name="KidneyPlans", initial_lr=1e-12)
    given = untrained(trainer_class("ResUNetTrainer_DiceFocal"))
    move_plans_between_datasets(220, 221, "KidneyPlans", "MovedPlans")
    moved = json.loads((world / "nnUNet_preprocessed" / FORMS["regions"][0] / "MovedPlans.json").read_text())
    full = moved["configurations"]["3d_fullres"]
    assert full["kits_training"]["initial_lr"] == 1e-12
    data = world / "nnUNet_preprocessed" / FORMS["regions"][0]
    (data / "Small_3d_fullres").rename(data / full["data_identifier"])  # what preprocessing would write
    found = train(
        monkeypatch, "ResUNetTrainer_1epochs", f"-pretrained_weights={given}", form="regions", plans="MovedPlans"
    )
    assert_only_heads_are_new(found, given)


def test_weights_that_do_not_fit_are_one_line_before_anything_is_trained(world, monkeypatch, tmp_path):
    write_plans(world, "classes")
    write_plans(world, "regions")

    def refused(trainer, file, **options):
        with pytest.raises(KitsError) as caught:
            train(monkeypatch, trainer, "-pretrained_weights", file, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert "tensor(" not in message
        assert not list(world.rglob("debug.json"))  # written when a training starts
        return message

    ours = untrained(trainer_class("ResUNetTrainer"))
    kind = refused("PlainUNetTrainer", ours)
    assert "do not fit PlainUNetTrainer with 3d_fullres of SmallPlans" in kind
    assert "nnUNetv2_move_plans_between_datasets" in kind
    wider = untrained(nnUNetTrainer, architecture=residual(features=8))
    write_plans(world, "classes", architecture=residual())
    topology = refused("PlannedUNetTrainer", wider)
    assert "encoder.stem.convs.0.conv.weight, is 8 x 1 x 3 x 3 x 3, and should be 4 x 1 x 3 x 3 x 3" in topology
    shallower = untrained(nnUNetTrainer, architecture=residual(stages=3))
    assert " is missing, and should be " in refused("PlannedUNetTrainer", shallower)
    stock = untrained(nnUNetTrainer, architecture=residual())
    cascade = refused("PlannedUNetTrainer", stock, configuration="3d_cascade_fullres")
    assert "sees 1 channels, but that of PlannedUNetTrainer with 3d_cascade_fullres of SmallPlans sees 4" in cascade
    assert "there is no such file" in refused("PlannedUNetTrainer", tmp_path / "lost.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    assert "the file is damaged, or no checkpoint" in refused("PlannedUNetTrainer", tmp_path / "text.pth")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "v1.model")
    torch.save({"network_weights": {}, "more": small_plans}, tmp_path / "code.pth")
    assert "and that would run when the file is read" in refused("PlannedUNetTrainer", tmp_path / "code.pth")
    assert "no checkpoint of nnU-Net v2. Those of v1" in refused("PlannedUNetTrainer", tmp_path / "v1.model")


def test_weights_that_lie_on_a_gpu_that_is_not_there_are_refused_with_the_command_that_copies_them(
    world, monkeypatch, tmp_path
):
    write_plans(world, "classes")
    file = untrained(trainer_class("ResUNetTrainer"))
    content = saved(file.parent, file.name)
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        torch.save(content, tmp_path / "gpu.pth")
    with pytest.raises(TrainingError, match=r"lie on cuda:0, and nnU-Net loads them to nowhere else") as caught:
        train(monkeypatch, "ResUNetTrainer", "-pretrained_weights", tmp_path / "gpu.pth")
    assert "map_location='cpu'" in str(caught.value)


def test_the_file_is_asked_for_only_where_nnunet_begins_from_it():
    words = ["nnUNetv2_train", "220", "3d_fullres", "0"]
    assert file_asked_for(words) is None
    assert file_asked_for([*words, "-pretrained_weights", "a.pth"]) == Path("a.pth")
    assert file_asked_for([*words, "-pretrained_weights=a.pth", "-tr", "X"]) == Path("a.pth")
    assert file_asked_for([*words, "-pretrained_weights", "a.pth", "--val"]) is None
    assert file_asked_for([*words, "-pretrained_weights", "a.pth", "--c"]) is None


# a longer training


@pytest.fixture
def beginnings(monkeypatch):
    """The weights and the state of the optimizer with which each training starts."""
    seen = []

    def recording(trainer):
        if not trainer.was_initialized:
            trainer.initialize()
        weights = {key: value.clone() for key, value in trainer.network.state_dict().items()}
        seen.append((trainer.current_epoch, weights, copy.deepcopy(trainer.optimizer.state_dict()["state"])))
        start(trainer)

    start = KitsTrainer.on_train_start
    monkeypatch.setattr(KitsTrainer, "on_train_start", recording)
    return seen


def contents(folder):
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.iterdir() if file.is_file()}


def test_a_longer_training_goes_on_from_a_finished_shorter_one_and_leaves_its_folder_as_it_was(
    world, monkeypatch, beginnings
):
    write_plans(world, "classes")
    shorter = train(monkeypatch, "ResUNetTrainer_1epochs")
    before, end = contents(shorter), saved(shorter)
    longer = train(monkeypatch, "ResUNetTrainer_2epochs", "--c")
    assert contents(shorter) == before
    epoch, weights, state = beginnings[-1]
    assert epoch == 1
    for key, value in end["network_weights"].items():
        assert torch.equal(weights[key], value)
    kept = end["optimizer_state"]["state"]
    assert kept.keys() == state.keys()
    assert all(torch.equal(state[key]["momentum_buffer"], kept[key]["momentum_buffer"]) for key in kept)
    found = saved(longer)
    assert (found["trainer_name"], found["current_epoch"]) == ("ResUNetTrainer_2epochs", 2)
    for name, values in end["logging"].items():
        assert len(found["logging"][name]) == 2
        np.testing.assert_array_equal(found["logging"][name][:1], values)  # no patch shows some class: its Dice is NaN
    assert (longer / BEST).is_file()
    assert not (longer / LATEST).exists()
    log = log_of(longer)
    assert "ResUNetTrainer_2epochs goes on from the finished ResUNetTrainer_1epochs, after its 1 epochs" in log
    assert "Epoch 1" in log
    assert "Epoch 0" not in log
    again = train(monkeypatch, "ResUNetTrainer_2epochs", "--c")  # finished itself now: nothing is left to train
    assert saved(again)["logging"]["train_losses"] == found["logging"]["train_losses"]


def write_finished(trainer, losses=(0.5,), rates=None, **options):
    """The checkpoint of a finished training, nothing trained."""

    def make(*given, **more):
        made = trainer_class(trainer)(*given, **more)
        made.current_epoch = len(losses) - 1
        for key, values in (("train_losses", losses), ("val_losses", losses), ("lrs", rates or [0.01] * len(losses))):
            for epoch, value in enumerate(values):
                made.logger.log(key, value, epoch)
        return made

    return untrained(make, file=FINAL, **options)


def going_on(trainer, **changes):
    """A trainer as ``--c`` makes it, and whether it found something to go on from."""
    plans = {**small_plans("classes", **changes), "continue_training": True}
    made = trainer_class(trainer)(plans, "3d_fullres", 0, small_dataset_json("classes"), device=CPU)
    maybe_load_checkpoint(made, continue_training=True, validation_only=False)
    return made


@pytest.mark.parametrize(
    ("finished", "wanted", "goes_on"),
    [
        ("ResUNetTrainer_3epochs", "ResUNetTrainer_4epochs", True),
        ("ZhangPlainUNetTrainer", "ZhangPlainUNetTrainer_900epochs", True),
        ("ResUNetTrainer_5epochs", "ResUNetTrainer_4epochs", False),
        ("ResUNetTrainer_Adam_3epochs", "ResUNetTrainer_4epochs", False),
        ("PlainUNetTrainer_3epochs", "ResUNetTrainer_4epochs", False),
    ],
)
def test_only_a_shorter_training_of_the_same_parts_is_gone_on_from(small, finished, wanted, goes_on, capsys):
    write_finished(finished, losses=(0.9, 0.8, 0.7), batch_size=6)
    made = going_on(wanted, batch_size=6)
    assert made.current_epoch == (3 if goes_on else 0)
    assert ("there seems to be no checkpoint available" in capsys.readouterr().out) is not goes_on


def test_the_longest_of_several_shorter_trainings_is_gone_on_from_and_none_of_another_fold_or_unfinished(small):
    for epochs in (1, 2, 3):
        write_finished(f"ResUNetTrainer_{epochs}epochs", losses=[0.5] * epochs)
    final = folder_of("ResUNetTrainer_3epochs") / FINAL
    final.rename(final.with_name(LATEST))
    made = going_on("ResUNetTrainer_9epochs")
    assert made.current_epoch == 2
    final = folder_of("ResUNetTrainer_2epochs") / FINAL
    other = final.parent.with_name("fold_1")
    final.parent.rename(other)
    for file in Path(made.output_folder).glob("*.pth"):
        file.unlink()
    assert going_on("ResUNetTrainer_9epochs").current_epoch == 1


def test_a_shorter_training_of_other_plans_of_the_same_name_is_refused_but_settings_may_change(small):
    write_finished("ResUNetTrainer_1epochs")
    with pytest.raises(
        TrainingError, match=r"ResUNetTrainer_9epochs cannot go on from .*: patch_size of plans SmallPlans"
    ):
        going_on("ResUNetTrainer_9epochs", patch_size=[16, 16, 16])
    assert not list(folder_of("ResUNetTrainer_9epochs").glob("*.pth"))
    made = going_on("ResUNetTrainer_9epochs", kits_training={"initial_lr": 0.5})
    assert made.current_epoch == 1


def test_a_damaged_shorter_training_is_refused(small):
    final = write_finished("ResUNetTrainer_1epochs")
    final.write_bytes(final.read_bytes()[:-100])
    with pytest.raises(TrainingError, match=r"the checkpoint is damaged, so ResUNetTrainer_9epochs cannot go on from"):
        going_on("ResUNetTrainer_9epochs")


def test_a_cascade_goes_on_where_its_low_resolution_is_the_same(small):
    options = {"configuration": "3d_cascade_fullres"}
    write_finished("ResUNetTrainer_1epochs", **options)
    results = folder_of("ResUNetTrainer_1epochs", configuration="3d_cascade_fullres").parents[1]

    def found(trainer):
        shorter = finished_shorter(ModelFolder(results, trainer, "SmallPlans", "3d_cascade_fullres"), 0)
        return shorter and shorter.trainer

    assert found("ResUNetTrainer_9epochs") == "ResUNetTrainer_1epochs"
    assert found("ResUNetTrainer_9epochs_after_ResUNetTrainer_1epochs") == "ResUNetTrainer_1epochs"
    assert found("ResUNetTrainer_9epochs_after_PlainUNetTrainer") is None


@pytest.mark.parametrize(
    ("optimisation", "last", "would", "following"),
    [
        ("", 0.01 * (1 / 3) ** 0.9, 0.01 * (7 / 9) ** 0.9, 0.01 * (6 / 9) ** 0.9),
        ("_AdamWCosine", 0.25e-4, 1e-4 * (1 + math.cos(math.pi * 2 / 9)) / 2, 0.75e-4),
    ],
    ids=["polynomial", "cosine"],
)
def test_the_log_says_by_how_much_the_learning_rate_jumps(small, optimisation, last, would, following):
    write_finished(f"ResUNetTrainer{optimisation}_3epochs", losses=[0.5] * 3, rates=[1.0, 1.0, last])
    made = going_on(f"ResUNetTrainer{optimisation}_9epochs")
    assert (
        f"The learning rate, {last:.3g} in epoch 2, is {following:.3g} now: the schedule is that of 9 epochs, by which "
        f"epoch 2 would have had {would:.3g}. So this is a restart"
    ) in Path(made.log_file).read_text()


def test_a_schedule_that_does_not_know_its_length_goes_on_as_in_one_training(small):
    write_finished("ResUNetTrainer_Adam_1epochs")
    made = going_on("ResUNetTrainer_Adam_9epochs", kits_training={"initial_lr": 0.01})
    assert "The learning rate, 0.01 now, goes on as in one training of 9 epochs." in Path(made.log_file).read_text()


# experiment tracking


def test_nnunets_experiment_tracking_keeps_what_ours_is_made_of(world, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is not installed")
    write_plans(world, "classes")
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    monkeypatch.setenv("nnUNet_wandb_mode", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    logged, runs = {}, []

    def keep(logger, key, value, step):
        logged.setdefault(key, []).append(value)
        runs.append(logger.run)
        log(logger, key, value, step)

    log = WandbLogger.log
    monkeypatch.setattr(WandbLogger, "log", keep)
    folder = train(monkeypatch, "ResUNetTrainer_AdamWCosine_2epochs")
    ours = saved(folder)["logging"]
    for name in ("train_losses", "val_losses", "lrs", "ema_fg_dice"):
        assert logged[name] == ours[name]
        assert len(ours[name]) == 2
    run = runs[0]
    config = dict(run.config)
    assert config["nnunet_kits"]["parts"]["optimisation"] == "AdamWCosine"
    assert config["nnunet_kits"]["settings"]["num_iterations_per_epoch"] == 2
    assert config["hparas"]["initial_lr"] == 1e-4
    run.finish()  # nnU-Net leaves it to the end of the process
    (kept,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 30  # another process writes it
    while b"ema_fg_dice" not in kept.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert b"AdamWCosine" in kept.read_bytes()


def test_a_mode_of_wandb_that_nnunet_would_overrule_is_refused_before_anything_is_sent(small, monkeypatch):
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(TrainingError, match=r"its own mode, which is online. Set nnUNet_wandb_mode=offline too"):
        going_on("ResUNetTrainer")
    check_mode({"nnUNet_wandb_enabled": "1", "WANDB_MODE": "offline", "nnUNet_wandb_mode": "offline"})
    check_mode({"nnUNet_wandb_enabled": "0", "WANDB_MODE": "offline"})


def test_without_wandb_nnunet_says_what_to_install_before_anything_is_trained(small, monkeypatch):
    monkeypatch.setattr(nnunet_logger, "wandb", None)
    monkeypatch.setenv("nnUNet_wandb_enabled", "1")
    with pytest.raises(RuntimeError, match=r"W&B is not installed\. Please install W&B with 'pip install wandb'"):
        going_on("ResUNetTrainer")
