"""Settings a plans file may carry for our trainers, under ``kits_training`` of a configuration."""

from collections.abc import Callable, Mapping
from typing import Any

from nnunet_kits.errors import TrainingError

KEY = "kits_training"


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and _is_positive(value)


def _is_share(value: Any) -> bool:
    return _is_positive(value) and value <= 1


def _is_axes(value: Any) -> bool:
    return isinstance(value, list) and set(value) <= {0, 1, 2}


def _is_shares(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(_is_positive(share) for share in value.values())


def _is_weights(value: Any) -> bool:
    return value == "frequencies" or (isinstance(value, list) and bool(value) and all(map(_is_positive, value)))


def _is_parameters(value: Any) -> bool:
    """Losses and parameters that exist are told from others when the loss is built."""
    return isinstance(value, dict) and all(isinstance(given, dict) for given in value.values())


COUNT = (_is_count, "a positive int")
POSITIVE = (_is_positive, "a positive float")
AXES_SETTINGS = ("mirror_axes", "prediction_mirror_axes")

SETTINGS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_iterations_per_epoch": COUNT,
    "num_val_iterations_per_epoch": COUNT,
    "initial_lr": POSITIVE,
    "oversample_foreground_percent": (_is_share, "a positive float: it is a share of the batch, from 0 to 1"),
    "save_every": COUNT,
    **dict.fromkeys(AXES_SETTINGS, (_is_axes, "a list of 0, 1, 2")),
    "foreground_shares": (_is_shares, "an object of names of labels or regions with a positive share each"),
    "class_weights": (_is_weights, "a list of positive numbers, or 'frequencies'"),
    "loss_parameters": (_is_parameters, "an object of names of losses, each with an object of numbers"),
    "early_stopping_patience": COUNT,
    "mixup_alpha": POSITIVE,
    "imagenet_weights": (lambda value: isinstance(value, str) and bool(value), "a file, 'hub' or 'none'"),
}
"""Name of a setting, which is the attribute of our trainer that it sets -> (what holds for its value, in words).

``mirror_axes`` are the axes (0 to 2 for z, y, x; 0 and 1 for y, x of a 2D configuration) mirrored in augmentation and,
without ``prediction_mirror_axes``, at prediction; ``[]`` for none.
"""


def training_settings(configuration: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings of one configuration of a plans file.

    Args:
        configuration: the configuration, inheritance resolved.
        name: its name, for the message.

    Raises:
        TrainingError: an unknown setting, a value of the wrong type, or an axis that the patches do not have.
    """
    given = configuration.get(KEY, {})
    for key, value in given.items():
        if key not in SETTINGS:
            raise TrainingError(
                f"plans, configuration {name}: {KEY} has no setting {key!r}. Allowed: {', '.join(SETTINGS)}."
            )
        holds, wanted = SETTINGS[key]
        if not holds(value):
            raise TrainingError(f"plans, configuration {name}: {KEY}.{key} is {value!r}, but must be {wanted}.")
        dimensions = len(configuration.get("patch_size", [0, 0, 0]))
        if key in AXES_SETTINGS and any(axis >= dimensions for axis in value):
            allowed = ", ".join(map(str, range(dimensions)))
            raise TrainingError(
                f"plans, configuration {name}: {KEY}.{key} is {value!r}, but {name} has patches of {dimensions} "
                f"dimensions. Allowed: {allowed}."
            )
    return dict(given)
