"""Settings a plans file may carry for our trainers, under ``kits_training`` of a configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

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
    """Losses and parameters that exist are told from others by the losses."""
    return isinstance(value, dict) and all(isinstance(given, dict) for given in value.values())


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


@dataclass(frozen=True)
class Rule:
    """What holds for the value of a setting, and that in words: stands beside the setting's type."""

    holds: Callable[[Any], bool]
    wanted: str


Count = Annotated[int | None, Rule(_is_count, "a positive int")]
Positive = Annotated[float | None, Rule(_is_positive, "a positive float")]
Share = Annotated[float | None, Rule(_is_share, "a positive float: it is a share of the batch, from 0 to 1")]
Axes = Annotated[Sequence[int] | None, Rule(_is_axes, "a list of 0, 1, 2")]
Shares = Annotated[
    Mapping[str, float] | None, Rule(_is_shares, "an object of names of labels or regions with a positive share each")
]
Weights = Annotated[list[float] | str, Rule(_is_weights, "a list of positive numbers, or 'frequencies'")]
LossParameters = Annotated[
    Mapping[str, Mapping[str, float]] | None,
    Rule(_is_parameters, "an object of names of losses, each with an object of numbers"),
]
Switch = Annotated[bool, Rule(_is_switch, "true or false")]
Encoder = Annotated[str, Rule(_is_text, "a file, 'hub' or 'none'")]


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of one configuration; None leaves a thing to nnU-Net, or to the parts of the trainer's name.

    Attributes:
        num_iterations_per_epoch: training iterations of an epoch.
        num_val_iterations_per_epoch: validation iterations of an epoch.
        initial_lr: learning rate of the first epoch.
        oversample_foreground_percent: share of a batch, above 0 to 1, that is made to show foreground.
        save_every: epochs between checkpoints.
        mirror_axes: axes (0 to 2 for z, y, x; 0 and 1 for y, x of a 2D configuration) mirrored in augmentation and,
            without ``prediction_mirror_axes``, at prediction; ``[]`` for none.
        prediction_mirror_axes: axes mirrored at prediction.
        foreground_shares: name of a label or region -> share of the patches that ``TumorFocus`` aims at it.
        class_weights: one per output of the network, or ``frequencies``: from the labels of the training cases.
        loss_parameters: name of a loss -> its parameters.
        early_stopping_patience: epochs without a new lowest validation loss after which the training ends.
        mixup_alpha: both parameters of the beta distribution that mixup's shares are drawn from.
        imagenet_weights: a file of encoder weights, ``hub`` or ``none``.
        fast_loading: whether patches are read and augmented by our loops; else by nnU-Net's.
    """

    num_iterations_per_epoch: Count = None
    num_val_iterations_per_epoch: Count = None
    initial_lr: Positive = None
    oversample_foreground_percent: Share = None
    save_every: Count = None
    mirror_axes: Axes = None
    prediction_mirror_axes: Axes = None
    foreground_shares: Shares = None
    class_weights: Weights = "frequencies"
    loss_parameters: LossParameters = None
    early_stopping_patience: Count = None
    mixup_alpha: Positive = None
    imagenet_weights: Encoder = "hub"
    fast_loading: Switch = True


SETTINGS: dict[str, Rule] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(TrainingSettings, include_extras=True).items()
}
"""Name of a setting -> what holds for its value."""


def training_settings(
    configuration: Mapping[str, Any], name: str, usual: Mapping[str, Any] | None = None
) -> TrainingSettings:
    """The settings of one configuration of a plans file.

    Args:
        configuration: the configuration, inheritance resolved.
        name: its name, for the message.
        usual: settings that hold where the configuration has no other, those of a published system.

    Raises:
        TrainingError: an unknown setting, a value of the wrong type, or an axis that the patches do not have.
    """
    given = configuration.get(KEY, {})
    for key, value in given.items():
        if key not in SETTINGS:
            raise TrainingError(
                f"plans, configuration {name}: {KEY} has no setting {key!r}. Allowed: {', '.join(SETTINGS)}."
            )
        rule = SETTINGS[key]
        if not rule.holds(value):
            raise TrainingError(f"plans, configuration {name}: {KEY}.{key} is {value!r}, but must be {rule.wanted}.")
        dimensions = len(configuration.get("patch_size", [0, 0, 0]))
        if key.endswith("mirror_axes") and any(axis >= dimensions for axis in value):
            allowed = ", ".join(map(str, range(dimensions)))
            raise TrainingError(
                f"plans, configuration {name}: {KEY}.{key} is {value!r}, but {name} has patches of {dimensions} "
                f"dimensions. Allowed: {allowed}."
            )
    return TrainingSettings(**{**(usual or {}), **given})
