"""Settings a plans file may carry for our trainers, under ``kits_training`` of a configuration."""

from collections.abc import Mapping
from typing import Any

from nnunet_kits.errors import TrainingError

KEY = "kits_training"

SETTINGS: dict[str, type] = {
    "num_iterations_per_epoch": int,
    "num_val_iterations_per_epoch": int,
    "initial_lr": float,
    "oversample_foreground_percent": float,
    "save_every": int,
    "mirror_axes": list,
}
"""Name of a setting, which is the attribute of our trainer that it sets -> its type. Numbers must be positive.

``mirror_axes`` are the axes (0 to 2 for z, y, x) mirrored in augmentation and at prediction; ``[]`` for none.
"""


def training_settings(configuration: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of one configuration of a plans file.

    Args:
        configuration: the configuration, inheritance resolved.
        name: its name, for the message.

    Raises:
        TrainingError: an unknown setting or a value of the wrong type.
    """
    given = configuration.get(KEY, {})
    for key, value in given.items():
        if key not in SETTINGS:
            raise TrainingError(
                f"plans, configuration {name}: {KEY} has no setting {key!r}. Allowed: {', '.join(SETTINGS)}."
            )
        if key == "mirror_axes":
            if not isinstance(value, list) or not set(value) <= {0, 1, 2}:
                raise TrainingError(
                    f"plans, configuration {name}: {KEY}.mirror_axes is {value!r}, but must be a list of 0, 1, 2."
                )
            continue
        wanted = SETTINGS[key]
        allowed = (int, float) if wanted is float else (int,)
        if isinstance(value, bool) or not isinstance(value, allowed) or value <= 0:
            raise TrainingError(
                f"plans, configuration {name}: {KEY}.{key} is {value!r}, but must be a positive {wanted.__name__}."
            )
    if given.get("oversample_foreground_percent", 1) > 1:
        raise TrainingError(
            f"plans, configuration {name}: {KEY}.oversample_foreground_percent is "
            f"{given['oversample_foreground_percent']}, but is a share of the batch, from 0 to 1."
        )
    return dict(given)
