"""Every published system's trainer as it is put together, against numbers written out by hand.

Sources: the papers, and the authors' repositories at the commits that docs/reference/published-systems.md names. Where
neither says anything, the number is nnU-Net's.
"""

import pytest
import torch
from small_plans import CLASSES, architecture, configuration, dataset_json, plans

from nnunet_kits.planning.presets import load_preset, preset_names
from nnunet_kits.training.names import parse_trainer_name
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.schedules import Plateau
from nnunet_kits.training.trainers import trainer_class

KITS19 = {"background": 0, "kidney": 1, "tumor": 2}
KIDNEYS = {"background": 0, "kidney_and_mass": 1}
TUMOR = {"background": 0, "tumor": 1}
LESIONS = {**CLASSES, "ignore": 4}

NNUNET = {
    "loss": ("DiceCE", {}),
    "weights": None,
    "sampling": "Foreground",
    "optimizer": ("SGD", 0.01, 3e-5),
    "schedule": "polynomial",
    "epochs": 1000,
    "iterations": 250,
    "clipping": 12,
    "mixed precision": True,
    "deep supervision": True,
    "augmentation": "nnunet",
    "mirrored in training": (0, 1, 2),
    "mirrored in prediction": (0, 1, 2),
    "mixup": None,
    "stops early after": None,
    "best": "ema_dice",
}

# Zhang: the paper, "Basic Setup" and "Hyper-parameter tuning"; train/losses.py, train/engine.py, parameters.ini.
ZHANG = {
    **NNUNET,
    "loss": ("DiceWeightedCE", {"dice": 0, "hard_dice": 1}),
    "weights": [0.5, 1, 1.5],
    "sampling": "TripleWindows",
    "optimizer": ("Adam", 5e-4, 3e-5),
    "schedule": Plateau("train_losses", 30, 0.2, 0.0, past_weight=0.9, floor=1e-6, cooldown=5, reference="before"),
    "epochs": 600,
    "iterations": 84,  # 168 cases, 2 a batch
    "clipping": "none",
    "mixed precision": False,
    "deep supervision": False,
    "augmentation": "zhang",
    "mirrored in training": (),
    "mirrored in prediction": (),
}
# Beheshtifard: the poster, "Training Procedure"; Kidney_Segmentation.ipynb.
BEHESHTIFARD = {
    **NNUNET,
    "loss": ("CE", {}),
    "sampling": "AllSlices",
    "optimizer": ("Adam", 1e-3, 0),
    "schedule": "constant",
    "epochs": 100,
    "iterations": 399,
    "deep supervision": False,
    "augmentation": "beheshtifard",
    "mirrored in training": (0, 1),
    "mirrored in prediction": (),
    "best": "val_loss",
}
# Chen and Jin: sections 3.3 and 3.4.
CHEN_JIN = {
    **NNUNET,
    "loss": ("WeightedDiceCE", {"background": 1}),
    "weights": [1, 1, 1],
    "sampling": "LabelledSlices",
    "optimizer": ("Adam", 1e-4, 0),
    "schedule": Plateau("val_losses", 30, 0.8, 0.005, floor=1e-6),
    "epochs": 80,  # of 24 iterations: 1920
    "iterations": 24,
    "deep supervision": False,
    "augmentation": "chen_jin",
    "mirrored in training": (0, 1),
    "mirrored in prediction": (0, 1),
}
GEORGE = NNUNET
# Chen and Zhang: sections 2.2, 3.2, tables 2 and 3; sibling code for weights, rings, mixup and clipping.
CHEN_ZHANG_FINE = {
    **NNUNET,
    "loss": ("DiceRingCE", {}),
    "weights": [1, 5, 15, 5],
    "optimizer": ("AdamW", 1e-4, 1e-4),
    "schedule": "cosine",
    "epochs": 600,
    "clipping": 0.1,
    "augmentation": "chen_zhang",
    "mirrored in training": (),
    "mirrored in prediction": (0,),
    "mixup": (0.4, 0.5),
}
CHEN_ZHANG_COARSE = {
    **CHEN_ZHANG_FINE,
    "weights": [1, 5],
    "epochs": 300,
    "clipping": "none",
    "mirrored in prediction": (),
}

EXPECTED = [
    # trainer, preset, configuration, labels of the dataset, what it must be
    ("ZhangResUNetTrainer", "KiTSZhangPlans", "3d_fullres", KITS19, {"network": "SharedResUNet", **ZHANG}),
    ("ZhangPreActResUNetTrainer", "KiTSZhangPlans", "3d_fullres", KITS19, {"network": "SharedPreActResUNet", **ZHANG}),
    ("ZhangPlainUNetTrainer", "KiTSZhangPlans", "3d_fullres", KITS19, {"network": "LeakyUNet", **ZHANG}),
    (
        *("BeheshtifardResNet34Trainer", "KiTSBeheshtifardKidneyPlans", "2d", KIDNEYS),
        {"network": "ResNet34UNet2D", **BEHESHTIFARD},
    ),
    (
        *("BeheshtifardResNet34Trainer", "KiTSBeheshtifardTumorPlans", "2d", TUMOR),
        {"network": "ResNet34UNet2D", **BEHESHTIFARD, "augmentation": "beheshtifard_tumor"},
    ),
    (
        *("BeheshtifardUNetTrainer", "KiTSBeheshtifardKidneyPlans", "2d", KIDNEYS),
        {"network": "PlainUNet", **BEHESHTIFARD},
    ),
    ("ChenJinUNetTrainer", "KiTSChenJin2DPlans", "2d", KITS19, {"network": "BatchNormUNet2D", **CHEN_JIN}),
    ("GeorgeCascadeTrainer", "KiTSCascadePlans", "3d_fullres", CLASSES, {"network": "PlannedUNet", **GEORGE}),
    (
        *("GeorgeUNet2DTrainer", "KiTSGeorge2DPlans", "2d", CLASSES),
        {"network": "PlannedUNet", **GEORGE, "mirrored in training": (0, 1), "mirrored in prediction": (0, 1)},
    ),
    (
        *("ChenZhangCoarseTrainer", "KiTSChenZhangCoarsePlans", "3d_fullres", KIDNEYS),
        {"network": "StemResUNet", **CHEN_ZHANG_COARSE},
    ),
    (
        *("ChenZhang25DTrainer", "KiTSChenZhangFinePlans", "3d_fullres", KIDNEYS),
        {"network": "StemResUNet25D", **CHEN_ZHANG_FINE, "weights": [1, 5]},
    ),
    (
        *("ChenZhang25DTrainer", "KiTSChenZhangFinePlans", "3d_fullres", LESIONS),
        {"network": "StemResUNet25D", **CHEN_ZHANG_FINE},
    ),
]


def build(name, preset, configuration_name, labels):
    """The trainer with what the preset says of this configuration, in plans without data."""
    given = load_preset(preset).configurations[configuration_name]
    taken = {key: given[key] for key in ("patch_size", "batch_size", "batch_dice", "kits_training") if key in given}
    flat = configuration_name == "2d"
    shape = {"spacing": [1.0, 1.0] if flat else [1.0] * 3, "architecture": architecture(4, 2 if flat else 3)}
    made = plans(**{configuration_name: configuration(**shape, **taken)})
    return trainer_class(name)(made, configuration_name, 0, dataset_json(labels), device=torch.device("cpu"))


def told(trainer):
    """What a trainer was put together of, as far as possible from what it does."""
    trainer.network = torch.nn.Linear(1, 1)
    optimizer = trainer.configure_optimizers()[0]
    group, settings = optimizer.param_groups[0], trainer.settings
    mirrored = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[3]
    mixup = (settings.mixup_alpha, settings.mixup_probability)
    return {
        "network": trainer.parts.network,
        "loss": (trainer.parts.loss, (settings.loss_parameters or {}).get(trainer.parts.loss, {})),
        "weights": trainer._stated_weights,
        "sampling": trainer.parts.sampling,
        "optimizer": (type(optimizer).__name__, group["lr"], group["weight_decay"]),
        "schedule": trainer.optimisation.schedule,
        "epochs": trainer.num_epochs,
        "iterations": trainer.num_iterations_per_epoch,
        "clipping": settings.gradient_clipping or 12,
        "mixed precision": settings.mixed_precision,
        "deep supervision": trainer.enable_deep_supervision,
        "augmentation": settings.augmentation,
        "mirrored in training": tuple(mirrored or ()),
        "mirrored in prediction": tuple(trainer.inference_allowed_mirroring_axes or ()),
        "mixup": mixup if trainer.parts.mixup else None,
        "stops early after": trainer.early_stopping_patience,
        "best": "val_loss" if trainer._keeps_lowest_loss else "ema_dice",
    }


@pytest.mark.parametrize(("name", "preset", "configuration_name", "labels", "expected"), EXPECTED)
def test_a_published_systems_trainer_is_what_paper_and_code_say(
    nnunet, name, preset, configuration_name, labels, expected
):
    assert told(build(name, preset, configuration_name, labels)) == expected


def test_every_published_trainer_and_every_preset_that_asks_for_one_is_in_the_table():
    assert {name for name, *_ in EXPECTED} == set(PUBLISHED)
    asked = {
        (trainer, preset)
        for preset in preset_names()
        for trainer in load_preset(preset).trainers.values()
        if parse_trainer_name(trainer).published == trainer
    }
    assert asked - {(name, preset) for name, preset, *_ in EXPECTED} == {
        ("ChenZhangCoarseTrainer", "KiTSChenZhang25DPlans"),  # the general cascade: not the paper's inputs
        ("ChenZhang25DTrainer", "KiTSChenZhang25DPlans"),
        ("BeheshtifardResNet34Trainer", "KiTSBeheshtifard2DPlans"),
    }
