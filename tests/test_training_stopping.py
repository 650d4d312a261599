"""Early stopping, and the rates that follow a plateau, through nnU-Net's own loop with losses told in advance."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.run.run_training import maybe_load_checkpoint
from small_plans import configuration, dataset_json, plans

from nnunet_kits.model_folder import BEST, FINAL, LATEST
from nnunet_kits.training.trainers import trainer_class

CPU = torch.device("cpu")
SETTINGS = {"num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1, "save_every": 1}


def make(name, losses, continues=False, **settings):
    """A trainer whose every epoch has a loss told in advance, for training and validation; nothing is computed."""
    given = plans(**{"3d_fullres": configuration(kits_training={**SETTINGS, **settings})})
    trainer = trainer_class(name)({**given, "continue_training": continues}, "3d_fullres", 0, dataset_json(), CPU)
    os.makedirs(trainer.preprocessed_dataset_folder, exist_ok=True)
    (Path(trainer.preprocessed_dataset_folder) / "case.b2nd").touch()
    trainer.initialize()
    trainer.logger.plot_progress_png = lambda *_: None
    trainer.on_train_start = lambda: None
    trainer.dataloader_train = trainer.dataloader_val = iter(lambda: {}, None)

    def loss():
        return {"loss": np.array(losses[trainer.current_epoch])}

    ones = {key: np.ones(3) for key in ("tp_hard", "fp_hard", "fn_hard")}
    trainer.train_step = lambda _: loss()
    trainer.validation_step = lambda _: {**loss(), **ones}
    return trainer


def saved(trainer, name):
    return torch.load(Path(trainer.output_folder) / name, weights_only=False)


def test_the_training_ends_after_as_many_epochs_without_a_lower_loss_as_the_plans_say(nnunet):
    trainer = make("ResUNetTrainer_20epochs", [3, 2, 1, *[2] * 17], early_stopping_patience=4)
    trainer.run_training()
    assert trainer.current_epoch == 7
    assert saved(trainer, FINAL)["current_epoch"] == 7
    assert not (Path(trainer.output_folder) / LATEST).exists()
    assert "4 epochs without a new lowest validation loss" in Path(trainer.log_file).read_text()


def test_a_training_that_keeps_improving_runs_to_its_last_epoch(nnunet):
    trainer = make("ResUNetTrainer_8epochs", list(range(8, 0, -1)), early_stopping_patience=2)
    trainer.run_training()
    assert trainer.current_epoch == 8


def test_the_optimisation_that_stops_early_has_a_patience_of_its_own_which_the_plans_override(nnunet):
    assert make("ResUNetTrainer_AdamEarlyStop", []).early_stopping_patience == 10
    assert make("ResUNetTrainer_AdamEarlyStop", [], early_stopping_patience=3).early_stopping_patience == 3
    assert make("ResUNetTrainer_Adam", []).early_stopping_patience is None


def test_with_early_stopping_the_best_checkpoint_is_that_of_the_lowest_validation_loss(nnunet):
    trainer = make("ResUNetTrainer_AdamEarlyStop_9epochs", [3, 2, 1, 2, 2, 0.5, 2, 2, 2], early_stopping_patience=3)
    trainer.run_training()
    assert trainer.current_epoch == 9
    best = saved(trainer, BEST)
    assert best["current_epoch"] == 6
    assert best["logging"]["val_losses"] == [3, 2, 1, 2, 2, 0.5]
    assert {len(values) for values in best["logging"].values()} == {6}


def test_without_early_stopping_the_best_checkpoint_is_nnunets(nnunet):
    trainer = make("ResUNetTrainer_4epochs", [3, 2, 1, 2])
    trainer.run_training()
    assert saved(trainer, BEST)["current_epoch"] == 1  # the pseudo Dice never changes here


def test_the_lowest_loss_is_kept_without_early_stopping_and_the_best_dice_with_it_where_the_plans_say_so(nnunet):
    losses = [3, 2, 1, *[2] * 12]
    name = "ResUNetTrainer_AdamEarlyStop_15epochs"
    trainer = make(name, losses, early_stopping_patience="none", best_checkpoint="val_loss")
    trainer.run_training()
    assert trainer.current_epoch == 15
    assert saved(trainer, BEST)["current_epoch"] == 3
    trainer = make(name, losses, best_checkpoint="ema_dice")
    trainer.run_training()
    assert trainer.current_epoch == 13
    assert saved(trainer, BEST)["current_epoch"] == 1  # the pseudo Dice never changes here


def test_a_stopped_training_stays_stopped_when_it_is_continued(nnunet):
    losses = [3, 2, 1, *[2] * 17]
    make("ResUNetTrainer_20epochs", losses, early_stopping_patience=4).run_training()
    again = make("ResUNetTrainer_20epochs", losses, continues=True, early_stopping_patience=4)
    maybe_load_checkpoint(again, continue_training=True, validation_only=False)
    again.run_training()
    assert again.current_epoch == 7
    assert len(again._logged("val_losses")) == 7


@pytest.mark.parametrize("name", ["SGD", "AdamPlateauTrain", "AdamPlateauVal"])
def test_a_killed_training_has_the_same_rates_as_one_that_was_not(nnunet, name):
    rng = np.random.default_rng(0)
    losses = [*np.linspace(1, 0.5, 10), *rng.uniform(0.6, 1, 55)]
    trainer_name = f"ResUNetTrainer_{name}_65epochs".replace("_SGD", "")
    whole = make(trainer_name, losses)
    whole.disable_checkpointing = True
    whole.run_training()
    killed = make(trainer_name, [*losses[:47]], save_every=47)
    with pytest.raises(IndexError):  # the kill: there is no 48th loss
        killed.run_training()
    again = make(trainer_name, losses, continues=True, save_every=47)
    maybe_load_checkpoint(again, continue_training=True, validation_only=False)
    assert again.current_epoch == 47
    again.run_training()
    rates = again._logged("lrs")
    assert rates == whole._logged("lrs")
    assert len(rates) == 65
    assert rates[-1] < rates[0]
