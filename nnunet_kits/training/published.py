"""Trainers of published systems: attributes only, built of the parts that every name is made of.

What each paper states, what ours is, and why it differs: ``docs/reference/published-systems.md``.
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
ZHANG_PARTS = {"loss": "DiceWeightedCE", "sampling": "TripleBatch", "optimisation": "AdamPlateauTrain", "epochs": 600}
BEHESHTIFARD = "Beheshtifard, Kidney Tumor Segmentation"
BEHESHTIFARD_PARTS = {"loss": "CE", "optimisation": "AdamEarlyStop", "epochs": 100}
GEORGE = "George, A Coarse-to-Fine 3D U-Net Network for Semantic Segmentation of Kidney CT Scans, KiTS21"
CHEN_ZHANG = "Chen and Zhang, An Ensemble of 2.5D ResUnet Based Models for Segmentation of Kidney and Masses, KiTS23"
HARDEST = {"loss_parameters": {"WeightedDiceCE": {"k": 10}}}
CHEN_ZHANG_PARTS = {"loss": "WeightedDiceCE", "optimisation": "AdamWCosine", "mixup": True}

PUBLISHED: dict[str, Published] = {
    "ZhangResUNetTrainer": Published(ZHANG, "KiTSZhangPlans", 3, {"network": "SharedResUNet", **ZHANG_PARTS}),
    "ZhangPreActResUNetTrainer": Published(
        ZHANG, "KiTSZhangPlans", 3, {"network": "SharedPreActResUNet", **ZHANG_PARTS}
    ),
    "ZhangPlainUNetTrainer": Published(ZHANG, "KiTSZhangPlans", 3, {"network": "LeakyUNet", **ZHANG_PARTS}),
    "BeheshtifardResNet34Trainer": Published(
        BEHESHTIFARD, "KiTSBeheshtifardKidneyPlans", 2, {"network": "ResNet34UNet2D", **BEHESHTIFARD_PARTS}
    ),
    "BeheshtifardUNetTrainer": Published(
        BEHESHTIFARD, "KiTSBeheshtifardKidneyPlans", 2, {"network": "PlainUNet", **BEHESHTIFARD_PARTS}
    ),
    "ChenJinUNetTrainer": Published(
        "Chen and Jin, A 2D U-Net for Automated Kidney and Renal Tumor Segmentation, KiTS19",
        "KiTSChenJin2DPlans",
        2,
        # 1920 iterations: 80 epochs of 24, the batches of 7 in once over 168 training cases (0.8 of 210).
        {"network": "BatchNormUNet2D", "sampling": "PositiveSlices", "optimisation": "AdamPlateauVal", "epochs": 80},
        {"num_iterations_per_epoch": 24},
    ),
    "GeorgeCascadeTrainer": Published(GEORGE, "KiTSCascadePlans", 3, {"network": "PlannedUNet"}),
    "GeorgeUNet2DTrainer": Published(GEORGE, "KiTSGeorge2DPlans", 2, {"network": "PlannedUNet"}),
    "ChenZhangCoarseTrainer": Published(
        CHEN_ZHANG,
        "KiTSChenZhangCoarsePlans",
        3,
        {"network": "StemResUNet", "epochs": 300, **CHEN_ZHANG_PARTS},
        HARDEST,
    ),
    "ChenZhang25DTrainer": Published(
        CHEN_ZHANG,
        "KiTSChenZhangFinePlans",
        3,
        {"network": "StemResUNet25D", "epochs": 600, **CHEN_ZHANG_PARTS},
        HARDEST,
    ),
}
"""Name of a trainer -> the system it is of."""
