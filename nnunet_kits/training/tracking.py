"""nnU-Net's experiment tracking (Weights & Biases, ``nnUNet_wandb_enabled=1``): what of ours belongs there.

nnU-Net logs losses, Dice, learning rate and times of every epoch itself, and the plans. It knows nothing of the parts
of a trainer's name.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import nnunet_kits
from nnunet_kits.errors import TrainingError
from nnunet_kits.training.names import TrainerName
from nnunet_kits.training.settings import TrainingSettings

ENABLED, MODE, THEIR_MODE = "nnUNet_wandb_enabled", "nnUNet_wandb_mode", "WANDB_MODE"
"""nnU-Net's variables, and that of wandb, which nnU-Net overrules."""


def check_mode(variables: Mapping[str, str]) -> None:
    """Refuse a mode of wandb's own variable that nnU-Net would overrule: what is to stay here would be sent.

    Args:
        variables: of the environment.

    Raises:
        TrainingError: both modes.
    """
    enabled = variables.get(ENABLED, "0") in ("1", "True", "true")
    wished, used = variables.get(THEIR_MODE), variables.get(MODE, "online")
    if enabled and wished and wished != used:
        raise TrainingError(
            f"{THEIR_MODE} is {wished}, but nnU-Net tells wandb its own mode, which is {used}. Set {MODE}={wished} "
            f"too, or unset {THEIR_MODE}."
        )


def composition(parts: TrainerName, settings: TrainingSettings) -> dict[str, Any]:
    """What a run's configuration should say of a trainer of ours: version, parts of its name, training settings."""
    return {
        "version": nnunet_kits.__version__,
        "parts": dataclasses.asdict(parts),
        "settings": dataclasses.asdict(settings),
    }
