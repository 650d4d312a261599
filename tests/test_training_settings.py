"""Settings that change what an iteration or an epoch does, through nnU-Net's own methods on random batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_plans import CLASSES, REGIONS, architecture, configuration, dataset_json, plans

from nnunet_kits.architectures.precision import in_float32
from nnunet_kits.errors import TrainingError
from nnunet_kits.training import mixup
from nnunet_kits.training.clipping import ClippingScaler
from nnunet_kits.training.trainers import trainer_class

CPU = torch.device("cpu")
FLAT = {"patch_size": [32, 32], "spacing": [2.0, 2.0], "architecture": architecture(dimensions=2)}


def make(name="ResUNetTrainer", labels=CLASSES, dimensions=3, changes=None, **settings):
    """An initialised trainer with these settings."""
    flat = FLAT if dimensions == 2 else {}
    given = configuration(**{**flat, **(changes or {}), "kits_training": settings})
    trainer = trainer_class(name)(plans(**{"fullres": given}), "fullres", 0, dataset_json(labels), device=CPU)
    folder = Path(trainer.preprocessed_dataset_folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.b2nd").touch()
    trainer.initialize()
    return trainer


def batch_for(trainer, labels=CLASSES, scale=1.0):
    torch.manual_seed(0)
    patch = trainer.configuration_manager.patch_size
    channels, values = (3, 2) if labels is REGIONS else (1, 4)
    size = (trainer.batch_size, channels, *patch)
    return {
        "data": scale * torch.randn(trainer.batch_size, 1, *patch),
        "target": torch.randint(0, values, size).float(),
    }


# deep supervision


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize(
    ("name", "dimensions"),
    [
        ("ResUNetTrainer", 3),
        ("PreActResUNetTrainer_DiceFocal", 3),
        ("ResUNet25DTrainer", 3),
        ("PlannedUNetTrainer_Mixup", 3),
        ("RecursiveUNet2DTrainer_DiceTopK", 2),
    ],
)
def test_without_deep_supervision_one_output_is_trained_and_validated(nnunet, name, dimensions, labels):
    trainer = make(name, labels, dimensions, deep_supervision=False)
    assert trainer._get_deep_supervision_scales() is None
    batch = batch_for(trainer, labels)
    trainer.set_deep_supervision_enabled(True)  # nnU-Net does, at the end of a validation
    assert trainer.network(batch["data"]).shape[2:] == batch["target"].shape[2:]
    assert np.isfinite(trainer.train_step(batch)["loss"])
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(batch)["loss"])


def test_weights_with_and_without_deep_supervision_have_the_same_names_and_shapes(nnunet):
    found = [make(deep_supervision=switch).network.state_dict() for switch in (True, False)]
    assert {key: value.shape for key, value in found[0].items()} == {key: v.shape for key, v in found[1].items()}


@pytest.mark.parametrize(
    ("name", "dimensions"), [("ResUNetTrainer", 3), ("PlannedUNetTrainer", 3), ("RecursiveUNet2DTrainer", 2)]
)
def test_without_deep_supervision_several_gpus_wait_for_no_weight_that_gets_no_gradient(nnunet, name, dimensions):
    trainer = make(name, dimensions=dimensions, deep_supervision=False)
    trainer.is_ddp = True
    trainer.configure_optimizers()
    trainer.is_ddp = False
    trainer.train_step(batch_for(trainer))
    weights = dict(trainer.network.named_parameters())
    assert {key for key, weight in weights.items() if weight.requires_grad} == {
        key for key, weight in weights.items() if weight.grad is not None
    }
    frozen = {key for key, weight in weights.items() if not weight.requires_grad}
    assert len(frozen) == 4  # weight and bias of two lower outputs
    assert all(".seg_layers." in key for key in frozen)
    assert trainer.network.training


def test_two_stages_can_be_trained_without_deep_supervision(nnunet):
    trainer = make(changes={"architecture": architecture(stages=2)}, deep_supervision=False)
    assert np.isfinite(trainer.train_step(batch_for(trainer))["loss"])


# the gradient


def literal_step(trainer, batch, largest_norm):
    """The weights after one step of plain gradient descent, its gradient shortened as asked for."""
    trainer.loss(trainer.network(batch["data"]), batch["target"]).backward()
    weights = list(trainer.network.parameters())
    gradients = [w.grad.clone() if w.grad is not None else torch.zeros_like(w) for w in weights]
    norm = torch.sqrt(sum((g.double() ** 2).sum() for g in gradients))
    factor = 1.0 if largest_norm is None else min(1.0, largest_norm / float(norm))
    trainer.optimizer.zero_grad()
    return [w.detach() - 0.1 * factor * g for w, g in zip(weights, gradients, strict=True)], float(norm)


@pytest.mark.parametrize(
    ("settings", "largest_norm"),
    [
        ({}, 12),
        ({"gradient_clipping": 0.01}, 0.01),
        ({"gradient_clipping": 50}, 50),
        ({"gradient_clipping": "none"}, None),
    ],
)
def test_the_gradient_is_shortened_to_the_norm_that_the_plans_say_within_nnunets_own_iteration(
    nnunet, settings, largest_norm
):
    trainer = make(deep_supervision=False, **settings)
    trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
    loss = trainer.loss
    trainer.loss = lambda output, target: 1000 * loss(output, target)
    batch = batch_for(trainer)
    expected, norm = literal_step(trainer, batch, largest_norm)
    assert norm > 50
    trainer.train_step(batch)
    for found, wanted in zip(trainer.network.parameters(), expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_a_scaled_gradient_is_unscaled_before_it_is_shortened_and_one_that_overflowed_makes_no_step():
    weights = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weights], lr=1)
    scaler = ClippingScaler("cpu", 1.0, scales=True)
    scaler.scale((weights * torch.tensor([3.0, 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_([weights], 1e-9)  # finds none
    scaler.step(optimizer)
    assert weights.tolist() == pytest.approx([-0.6, -0.8])
    scaler.update()
    before, scale = weights.tolist(), scaler.get_scale()
    optimizer.zero_grad()
    scaler.scale((weights * torch.tensor([float("inf"), 4.0])).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert weights.tolist() == before
    assert scaler.get_scale() < scale


def test_a_training_with_a_limit_of_its_own_goes_on_from_its_checkpoint_on_another_kind_of_device(nnunet):
    trainer = make(gradient_clipping="none")
    assert trainer.grad_scaler.state_dict() == {}  # on the CPU nothing is scaled
    on_a_gpu = ClippingScaler("cpu", None, scales=True)
    own = on_a_gpu.state_dict()
    on_a_gpu.load_state_dict({})
    assert on_a_gpu.state_dict() == own
    trainer.grad_scaler.load_state_dict(own)


# the loss


def test_stated_weights_and_the_highest_resolution_reach_the_loss(nnunet):
    task = make("ResUNetTrainer_DiceRingCE", class_weights="equal").loss.loss.task
    assert (task.class_weights, task.patch_size) == ([1, 1, 1, 1], (16, 24, 24))
    named = {"kidney_and_mass": 2, "mass": 3, "tumor": 4, "kidney": 9}
    assert make("ResUNetTrainer_DiceRingCE", REGIONS, class_weights=named).loss.loss.task.class_weights == [2, 3, 4]


# precision


def test_a_network_in_float32_stays_so_where_mixed_precision_is_on_around_it():
    x, plain, single = torch.randn(2, 3), torch.nn.Linear(3, 3), in_float32(torch.nn.Linear(3, 3))
    single.load_state_dict(plain.state_dict())
    exact = plain(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert plain(x).dtype == torch.bfloat16
        assert torch.equal(single(x), exact)
        assert single(x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("name", ["ResUNetTrainer", "PlannedUNetTrainer"])
def test_without_mixed_precision_training_and_prediction_have_a_network_in_float32_and_no_scaler(nnunet, name):
    trainer = make(name, mixed_precision=False)
    assert trainer.grad_scaler is None
    manager = trainer.configuration_manager
    predicting = trainer_class(name).build_network_architecture(trainer.plans_manager, manager, 1, 4, False)
    for network in (trainer.network, predicting):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network(torch.randn(1, 1, *manager.patch_size))
        assert (found[0] if isinstance(found, list) else found).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert make(name).network(torch.randn(1, 1, *manager.patch_size))[0].dtype == torch.bfloat16


# optimisation


@pytest.mark.parametrize("name", ["ResUNetTrainer", "ResUNetTrainer_Adam", "ResUNetTrainer_AdamWCosine"])
def test_rate_and_weight_decay_of_the_plans_reach_the_optimizer(nnunet, name):
    trainer = make(name, initial_lr=0.25, weight_decay=0)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.25
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0
    assert (trainer.initial_lr, trainer.weight_decay) == (0.25, 0)


def test_the_plateau_of_the_plans_reaches_the_schedule(nnunet):
    trainer = make("ResUNetTrainer_AdamPlateauVal", plateau={"patience": 2, "factor": 0.5, "min_delta": 0})
    for epoch in range(4):
        trainer.logger.log("val_losses", 1.0, epoch)
    rates = []
    for epoch in range(5):
        trainer.lr_scheduler.step(epoch)
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4, 1e-4, 1e-4, 5e-5, 5e-5])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"plateau": 3}, "plateau is 3, but must be an object of losses, patience, factor, min_delta"),
        ({"plateau": {"wait": 3}}, r"kits_training\.plateau has no setting 'wait'\. Allowed: losses, patience, fac"),
        ({"plateau": {"factor": 1}}, r"kits_training\.plateau\.factor is 1, but must be a positive float below 1"),
        ({"plateau": {"patience": 0}}, r"plateau\.patience is 0, but must be a positive int"),
        ({"plateau": {"past_weight": 1}}, r"plateau\.past_weight is 1, but must be a float from 0 to below 1"),
        ({"plateau": {"cooldown": 1.5}}, r"plateau\.cooldown is 1\.5, but must be an int that is not negative"),
        ({"plateau": {"min_delta": -1}}, r"plateau\.min_delta is -1, but must be a float that is not negative"),
        ({"plateau": {"reference": "last"}}, r"plateau\.reference is 'last', but must be 'best' or 'before'"),
        ({"plateau": {"losses": "dice"}}, r"plateau\.losses is 'dice', but must be 'train_losses' or 'val_losses'"),
        ({"plateau": {}}, "plateau is given, but the learning rate of optimisation SGD has none"),
        ({"weight_decay": -1}, "weight_decay is -1, but must be a float that is not negative"),
        ({"weight_decay": True}, "weight_decay is True, but must be a float that is not negative"),
        ({"gradient_clipping": 0}, "gradient_clipping is 0, but must be a positive float, or 'none'"),
        ({"gradient_clipping": "off"}, "gradient_clipping is 'off', but must be a positive float, or 'none'"),
        ({"early_stopping_patience": "off"}, "early_stopping_patience is 'off', but must be a positive int, or 'none'"),
        ({"mixed_precision": 1}, "mixed_precision is 1, but must be true or false"),
        ({"deep_supervision": "no"}, "deep_supervision is 'no', but must be true or false"),
        ({"best_checkpoint": "dice"}, "best_checkpoint is 'dice', but must be 'ema_dice' or 'val_loss'"),
        ({"mixup_probability": 0}, "mixup_probability is 0, but must be a positive float of at most 1"),
        ({"mixup_probability": 1.5}, "mixup_probability is 1.5, but must be a positive float of at most 1"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(nnunet, given, message):
    with pytest.raises(TrainingError, match=message):
        make(**given)


# mixup


def test_as_many_batches_are_mixed_as_the_plans_say(nnunet, monkeypatch):
    trainer = make("ResUNetTrainer_Mixup", mixup_probability=0.5, mixup_alpha=0.4)
    drawn, iterations = [], []
    monkeypatch.setattr(
        mixup, "draw", lambda images, alpha: drawn.append(alpha) or mixup.Pairing(1.0, torch.arange(images))
    )
    stock = trainer_class("ResUNetTrainer").__mro__[3]
    assert stock.__name__ == "nnUNetTrainer"
    monkeypatch.setattr(stock, "train_step", lambda self, batch: iterations.append(self.loss.pairing) or {})
    np.random.seed(0)
    for _ in range(2000):
        trainer.train_step({"data": torch.zeros(2, 1)})
    assert len(iterations) == 2000
    assert len([pairing for pairing in iterations if pairing]) == len(drawn)
    assert abs(len(drawn) - 1000) < 100  # more than four standard deviations
    assert set(drawn) == {0.4}
