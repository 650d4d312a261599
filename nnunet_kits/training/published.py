"""Trainers of published systems: attributes only, built of the parts that every name is made of.

What each paper states, what its author's code does, what ours is, and why it differs:
``docs/reference/published-systems.md``. What holds in one phase of a system alone stands in its preset.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """One published system's trainer.

    Attributes:
        source: authors, title and where it was published.
        plans: the preset with its spacing, patch and batch; others may name the trainer too.
        dimensions: of its patches, 2 or 3.
        parts: fields of a ``TrainerName``.
        settings: training settings (``kits_training``); those in the plans go first.
    """

    source: str
    plans: str
    dimensions: int
    parts: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)


ZHANG = "Zhang, UNet-based Segmentation of Kidney and Kidney Tumor in 3D Computed Tomography Images"
# Source of what the paper leaves out: Yichizz/unet3d_kits19 @ db3054a. Cysts, which KiTS19 does not label, are ours.
ZHANG_PARTS = {
    "loss": "DiceWeightedCE",
    "sampling": "TripleWindows",
    "optimisation": "AdamPlateauBefore",
    "epochs": 600,
}
ZHANG_SETTINGS = {
    "num_iterations_per_epoch": 84,  # 168 cases, 2 a batch
    "class_weights": {"background": 0.5, "kidney": 1, "tumor": 1.5, "cyst": 1.5, "kidney_and_mass": 1, "mass": 1.5},
    "loss_parameters": {"DiceWeightedCE": {"dice": 0, "hard_dice": 1}},
    "gradient_clipping": "none",
    "mixed_precision": False,
    "deep_supervision": False,
    "augmentation": "zhang",
}

BEHESHTIFARD = "Beheshtifard, Kidney Tumor Segmentation"
# Source of what the poster leaves out: Hosein-Beheshti/Kidney-Tumor-Segmentation @ 30e3f22.
BEHESHTIFARD_PARTS = {"loss": "CE", "sampling": "AllSlices", "optimisation": "Adam", "epochs": 100}
BEHESHTIFARD_SETTINGS = {
    "num_iterations_per_epoch": 399,
    "best_checkpoint": "val_loss",
    "deep_supervision": False,
    "augmentation": "beheshtifard",
    "prediction_mirror_axes": [],
}

CHEN_JIN = "Chen and Jin, A 2D U-Net for Automated Kidney and Renal Tumor Segmentation, KiTS19"
# 1920 iterations: 80 epochs of 24, the batches of 7 in once over 168 training cases (0.8 of 210).
CHEN_JIN_PARTS = {
    "loss": "WeightedDiceCE",
    "sampling": "LabelledSlices",
    "optimisation": "AdamPlateauVal",
    "epochs": 80,
}
CHEN_JIN_SETTINGS = {
    "num_iterations_per_epoch": 24,
    "class_weights": "equal",
    "loss_parameters": {"WeightedDiceCE": {"background": 1}},  # equation 2
    "deep_supervision": False,
    "augmentation": "chen_jin",
}

GEORGE = "George, A Coarse-to-Fine 3D U-Net Network for Semantic Segmentation of Kidney CT Scans, KiTS21"

CHEN_ZHANG = "Chen and Zhang, An Ensemble of 2.5D ResUnet Based Models for Segmentation of Kidney and Masses, KiTS23"
# Source of what the paper leaves out: sibling code, chencancan1018/crossMoDA @ 4f2ec0c for the fine models, and
# AbdominalOrgSeg @ 8f1be86 for the coarse one, which is not clipped. Neither has rings round a kidney alone.
CHEN_ZHANG_PARTS = {"loss": "DiceRingCE", "optimisation": "AdamWCosine", "mixup": True}
CHEN_ZHANG_SETTINGS = {
    "class_weights": {"background": 1, "kidney": 5, "tumor": 15, "cyst": 5, "kidney_and_mass": 5, "mass": 15},
    "mixup_alpha": 0.4,
    "mixup_probability": 0.5,
    "augmentation": "chen_zhang",
}
COARSE_SETTINGS = {**CHEN_ZHANG_SETTINGS, "gradient_clipping": "none"}
FINE_SETTINGS = {**CHEN_ZHANG_SETTINGS, "gradient_clipping": 0.1, "prediction_mirror_axes": [0]}


def _zhang(network: str) -> Published:
    return Published(ZHANG, "KiTSZhangPlans", 3, {"network": network, **ZHANG_PARTS}, ZHANG_SETTINGS)


def _beheshtifard(network: str) -> Published:
    parts = {"network": network, **BEHESHTIFARD_PARTS}
    return Published(BEHESHTIFARD, "KiTSBeheshtifardKidneyPlans", 2, parts, BEHESHTIFARD_SETTINGS)


def _chen_zhang(network: str, plans: str, epochs: int, settings: Mapping[str, Any]) -> Published:
    return Published(CHEN_ZHANG, plans, 3, {"network": network, "epochs": epochs, **CHEN_ZHANG_PARTS}, settings)


PUBLISHED: dict[str, Published] = {
    "ZhangResUNetTrainer": _zhang("SharedResUNet"),
    "ZhangPreActResUNetTrainer": _zhang("SharedPreActResUNet"),
    "ZhangPlainUNetTrainer": _zhang("LeakyUNet"),
    "BeheshtifardResNet34Trainer": _beheshtifard("ResNet34UNet2D"),
    "BeheshtifardUNetTrainer": _beheshtifard("PlainUNet"),
    "ChenJinUNetTrainer": Published(
        CHEN_JIN, "KiTSChenJin2DPlans", 2, {"network": "BatchNormUNet2D", **CHEN_JIN_PARTS}, CHEN_JIN_SETTINGS
    ),
    "GeorgeCascadeTrainer": Published(GEORGE, "KiTSCascadePlans", 3, {"network": "PlannedUNet"}),
    "GeorgeUNet2DTrainer": Published(GEORGE, "KiTSGeorge2DPlans", 2, {"network": "PlannedUNet"}),
    "ChenZhangCoarseTrainer": _chen_zhang("StemResUNet", "KiTSChenZhangCoarsePlans", 300, COARSE_SETTINGS),
    "ChenZhang25DTrainer": _chen_zhang("StemResUNet25D", "KiTSChenZhangFinePlans", 600, FINE_SETTINGS),
}
"""Name of a trainer -> the system it is of."""
