"""Parts that do not go together, with each other, the plans or the processes: refused before any data is loaded."""

from pathlib import Path

import pytest
import torch
from small_plans import CLASSES, architecture, configuration, dataset_json, plans

from nnunet_kits.architectures import Network
from nnunet_kits.errors import TrainingError
from nnunet_kits.losses import LOSSES, LossTask
from nnunet_kits.losses.build import build_loss
from nnunet_kits.training import compatibility
from nnunet_kits.training.mixup import MixupLoss, Pairing
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.trainers import trainer_class

CPU = torch.device("cpu")
FLAT = {"patch_size": [32, 32], "spacing": [2.0, 2.0], "architecture": architecture(dimensions=2), "batch_size": 6}


def make(name, labels=CLASSES, dimensions=3, settings=None, **changes):
    flat = FLAT if dimensions == 2 else {}
    given = configuration(**{**flat, "kits_training": {"imagenet_weights": "none", **(settings or {})}, **changes})
    trainer = trainer_class(name)(
        plans(**{f"{dimensions}d": given}), f"{dimensions}d", 0, dataset_json(labels), device=CPU
    )
    folder = Path(trainer.preprocessed_dataset_folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.b2nd").touch()
    return trainer


@pytest.mark.parametrize(
    ("name", "dimensions", "changes", "message"),
    [
        (
            "ResUNetTrainer_PositiveSlices",
            3,
            {},
            "sampling PositiveSlices needs a 2D configuration, but 3d has patches",
        ),
        (
            "RecursiveUNet2DTrainer",
            3,
            {},
            "network RecursiveUNet2D needs a 2D configuration, but 3d has patches of 16 x",
        ),
        (
            "ResUNet25DTrainer",
            2,
            {},
            "network ResUNet25D needs a 3D configuration, but 2d has patches of 32 x 32 voxels",
        ),
        (
            "ResNet34UNet2DTrainer",
            2,
            {"patch_size": [32, 40]},
            "needs patches whose edges are multiples of 32, but confi",
        ),
        ("ChenJinUNetTrainer", 3, {}, r"ChenJinUNetTrainer \(its plans: KiTSChenJin2DPlans\) needs a 2D configuration"),
        (
            "GeorgeCascadeTrainer",
            2,
            {},
            r"GeorgeCascadeTrainer \(its plans: KiTSCascadePlans\) needs a 3D configuration",
        ),
        (
            "ZhangResUNetTrainer",
            3,
            {"batch_size": 4},
            "has a batch_size of 4. Set a multiple of 3 in the plans, for exa",
        ),
        (
            "ResUNetTrainer_TripleBatch",
            3,
            {"batch_size": 2},
            "TripleBatch makes 3 images of every patch, but configura",
        ),
    ],
)
def test_parts_that_do_not_fit_the_plans_are_refused_by_the_constructor(nnunet, name, dimensions, changes, message):
    with pytest.raises(TrainingError, match=message):
        make(name, dimensions=dimensions, **changes)


@pytest.mark.parametrize(
    ("settings", "labels", "message"),
    [
        ({"class_weights": 3}, CLASSES, r"class_weights is 3, but must be a list, an object or a word"),
        (
            {"class_weights": [1, 0]},
            CLASSES,
            r"configuration 3d: kits_training\.class_weights is \[1, 0\], but must be",
        ),
        (
            {"foreground_shares": {"liver": 1}},
            CLASSES,
            "foreground_shares names liver, but the dataset has kidney, tumor",
        ),
        (
            {"foreground_shares": {"tumor": -1}},
            CLASSES,
            "must be an object of names of labels or regions with a positive",
        ),
        ({"foreground_shares": {}}, CLASSES, r"is \{\}, but must be an object of names"),
        ({"loss_parameters": {"Tversky": {"gamma": 1}}}, CLASSES, r"has no parameter 'gamma'. It has: alpha, beta\."),
        (
            {"loss_parameters": {"Tversky": {"alpha": 2}}},
            CLASSES,
            "of configuration 3d: loss Tversky: parameter alpha is 2",
        ),
        ({"loss_parameters": {"Tverski": {}}}, CLASSES, f"no loss is called 'Tverski'. Known: {', '.join(LOSSES)}."),
        ({"loss_parameters": {"Tversky": 1}}, CLASSES, "must be an object of names of losses, each with an object of"),
        ({"early_stopping_patience": 0}, CLASSES, "early_stopping_patience is 0, but must be a positive int"),
        ({"mixup_alpha": 0}, CLASSES, "mixup_alpha is 0, but must be a positive float"),
        ({"imagenet_weights": 1}, CLASSES, "imagenet_weights is 1, but must be a file, 'hub' or 'none'"),
    ],
)
def test_a_wrong_setting_is_refused_by_the_constructor(nnunet, settings, labels, message):
    with pytest.raises(TrainingError, match=message):
        make("ResUNetTrainer_TumorFocus", labels, settings=settings)


def test_mixup_of_a_batch_of_one_is_refused_before_the_network_is_built(nnunet):
    trainer = make("ResUNetTrainer_Mixup", batch_size=1)
    with pytest.raises(TrainingError, match=r"the plans' batch_size leaves 1 image per process\. Set at least 2"):
        trainer.initialize()
    assert trainer.network is None


def test_a_network_that_cannot_be_imported_is_named_with_the_reason(monkeypatch):
    lost = Network("nnunet_kits.architectures.lost.LostNet", "", "")
    monkeypatch.setitem(compatibility.NETWORKS, "LostNet", lost)
    with pytest.raises(
        TrainingError, match=r"network LostNet \(nnunet_kits.architectures.lost.LostNet\) cannot be imp"
    ):
        compatibility.network_class("LostNet", "")


def random_pair():
    logits = [torch.randn(2, 4, 16 // s, 24 // s, 24 // s) for s in (1, 2, 4)]
    return logits, [torch.randint(0, 4, (2, 1, *scale.shape[2:])).float() for scale in logits]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ResUNetTrainer_Tversky", {"Tversky": {"alpha": 0.1, "beta": 0.9}}),
        ("ResUNetTrainer_DiceTopK", {"Tversky": {"alpha": 0.1}}),
        ("ChenZhang25DTrainer_DiceTopK", {}),
    ],
)
def test_the_plans_parameters_reach_the_loss_of_their_name_alone(nnunet, name, parameters):
    trainer = make(name, settings={"loss_parameters": parameters, "class_weights": [1, 1, 1, 1]})
    loss = parse_trainer_name(name).loss
    built = trainer._deeply_supervised(build_loss(loss, LossTask(False, None, False, False), parameters.get(loss)))
    logits, target = random_pair()
    assert torch.equal(trainer._build_loss_of_ours()(logits, target), built(logits, target))


def test_the_weighted_dice_weighs_classes_and_mines_the_hardest_tenth_of_the_voxels(nnunet):
    logits, target = random_pair()
    losses = {}
    for weights in ([1, 1, 1, 1], [1, 1, 5, 9]):
        settings = {"class_weights": weights, "loss_parameters": {"WeightedDiceCE": {"k": 10}}}
        trainer = make("ResUNetTrainer_WeightedDiceCE", settings=settings)
        losses[weights[2]] = float(trainer._build_loss_of_ours()(logits, target))
    plain = build_loss("DiceTopK", LossTask(False, None, False, False), {"k": 10})
    assert losses[1] == pytest.approx(float(trainer._deeply_supervised(plain)(logits, target)))
    assert losses[5] != losses[1]


def test_the_loss_of_chen_and_zhangs_fine_models_has_the_weights_and_rings_of_the_sibling_code(nnunet):
    logits, target = random_pair()
    trainer = make("ChenZhang25DTrainer")
    task = LossTask(False, None, False, False, class_weights=[1, 5, 15, 5], patch_size=(16, 24, 24))
    sibling = trainer._deeply_supervised(build_loss("DiceRingCE", task, {"ce": 20, "ring": 15}))
    assert torch.equal(trainer._build_loss_of_ours()(logits, target), sibling(logits, target))


# several processes


def as_process(trainer, monkeypatch, rank, world):
    """The batch that one of several processes is given; nothing is sent between any."""
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    trainer.is_ddp = True
    trainer._set_batch_size_and_oversample()
    return trainer.batch_size, trainer.oversample_foreground_percent


def test_the_images_of_a_patch_stay_in_one_process(nnunet, monkeypatch):
    given = [as_process(make("ZhangResUNetTrainer", batch_size=9), monkeypatch, rank, 2) for rank in range(2)]
    assert [size for size, _ in given] == [6, 3]
    assert [round(size / 3 * share) for size, share in given] == [0, 1]


def test_more_processes_than_patches_are_refused(nnunet, monkeypatch):
    with pytest.raises(TrainingError, match="made of 2 patches, which 4 processes cannot share"):
        as_process(make("ZhangResUNetTrainer", batch_size=6), monkeypatch, 0, 4)


def test_five_of_seven_positive_slices_are_shared_out_exactly(nnunet, monkeypatch):
    name = "ResUNetTrainer_PositiveSlices"
    given = [as_process(make(name, dimensions=2, batch_size=7), monkeypatch, rank, 3) for rank in range(3)]
    assert [size for size, _ in given] == [3, 2, 2]
    assert [round(size * share) for size, share in given] == [1, 2, 2]


# mixup within nnU-Net's own iteration


def test_an_iteration_with_mixup_runs_the_network_once_on_mixed_images_and_mixes_the_losses(nnunet, monkeypatch):
    trainer = make("ResUNetTrainer_Mixup")
    trainer.initialize()
    assert isinstance(trainer.loss, MixupLoss)
    monkeypatch.setattr("nnunet_kits.training.mixup.draw", lambda images, alpha: Pairing(0.75, torch.tensor([1, 0])))
    images = torch.randn(2, 1, 16, 24, 24)
    target = [torch.randint(0, 4, (2, 1, 16 // s, 24 // s, 24 // s)).float() for s in (1, 2, 4)]
    kept = [scale.clone() for scale in target]
    with torch.no_grad():
        outputs = trainer.network(0.75 * images + 0.25 * images[[1, 0]])
        plain = trainer.loss.loss
        expected = 0.75 * plain(outputs, target) + 0.25 * plain(outputs, [scale[[1, 0]] for scale in target])
    seen = []
    trainer.network.register_forward_hook(lambda *_: seen.append(1))
    loss = trainer.train_step({"data": images, "target": target})["loss"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert len(seen) == 1
    assert trainer.loss.pairing is None
    assert all(torch.equal(one, other) for one, other in zip(target, kept, strict=True))


@pytest.mark.parametrize(
    ("name", "key", "path", "allowed"),
    [
        ("PlannedUNetTrainer", "network_class_name", "subprocess.Popen", "torch"),
        (
            "PlannedUNetTrainer",
            "norm_op",
            "os.system",
            "dynamic_network_architectures, nnunet_kits, nnunetv2, torch.nn",
        ),
        ("ResUNetTrainer", "conv_op", "os.system", "dynamic_network_architectures, nnunet_kits, nnunetv2, torch.nn"),
    ],
)
def test_plans_of_strangers_have_nothing_called_but_networks_and_layers(nnunet, name, key, path, allowed):
    named = architecture()
    if key == "network_class_name":
        named[key] = path
    else:
        named["arch_kwargs"][key] = path
    with pytest.raises(
        TrainingError, match=rf"^{name}: plans .*: {key} is '{path}', and .* modules of {allowed}\. Plan"
    ):
        make(name, architecture=named)


def test_plans_may_name_a_network_of_ones_own(nnunet, monkeypatch, tmp_path):
    (tmp_path / "my_networks.py").write_text("import torch\n\n\nclass Mine(torch.nn.Module):\n    pass\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    make("PlannedUNetTrainer", architecture={**architecture(), "network_class_name": "my_networks.Mine"})
