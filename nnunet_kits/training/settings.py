"""Settings a plans file may carry for our trainers, under ``kits_training`` of a configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from nnunet_kits.augmentation.sets import DEFAULT_SET, set_names
from nnunet_kits.errors import TrainingError
from nnunet_kits.training.schedules import Plateau
from nnunet_kits.values import (
    Rule,
    check_fields,
    is_count,
    is_not_negative,
    is_positive,
    is_share,
    one_of,
    rules_of,
)

KEY = "kits_training"
NONE = "none"
"""Switches off what a number would set."""

LOWEST_LOSS = "val_loss"
"""The best checkpoint is that of the lowest validation loss."""


def _is_axes(value: Any) -> bool:
    return isinstance(value, list) and set(value) <= {0, 1, 2}


def _is_shares(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(is_positive(share) for share in value.values())


def _is_parameters(value: Any) -> bool:
    """Losses and parameters that exist are told from others by the losses."""
    return isinstance(value, dict) and all(isinstance(given, dict) for given in value.values())


Count = Annotated[int | None, Rule(is_count, "a positive int")]
CountOrNone = Annotated[int | str | None, Rule(lambda v: v == NONE or is_count(v), "a positive int, or 'none'")]
Positive = Annotated[float | None, Rule(is_positive, "a positive float")]
PositiveOrNone = Annotated[
    float | str | None, Rule(lambda v: v == NONE or is_positive(v), "a positive float, or 'none'")
]
NotNegative = Annotated[float | None, Rule(is_not_negative, "a float that is not negative")]
Share = Annotated[
    float | None, Rule(lambda v: is_not_negative(v) and v <= 1, "a float: it is a share of the batch, from 0 to 1")
]
Probability = Annotated[float | None, Rule(is_share, "a positive float of at most 1")]
Axes = Annotated[Sequence[int] | None, Rule(_is_axes, "a list of 0, 1, 2")]
Shares = Annotated[
    Mapping[str, float] | None, Rule(_is_shares, "an object of names of labels or regions with a positive share each")
]
Weights = Annotated[
    Sequence[float] | Mapping[str, float] | str,
    Rule(lambda v: isinstance(v, list | dict | str), "a list, an object or a word"),  # more in weights.py
]
LossParameters = Annotated[
    Mapping[str, Mapping[str, float]] | None,
    Rule(_is_parameters, "an object of names of losses, each with an object of numbers"),
]
PlateauFields = Annotated[
    Mapping[str, Any] | None,
    Rule(lambda v: isinstance(v, dict), f"an object of {', '.join(rules_of(Plateau))}", rules_of(Plateau)),
]
Switch = Annotated[bool, Rule(lambda v: isinstance(v, bool), "true or false")]
Set = Annotated[
    str,
    Rule(
        lambda v: isinstance(v, str) and (v in set_names() or v.endswith(".json")),
        f"one of {', '.join(set_names())}, or a .json file",
    ),
]
Encoder = Annotated[str, Rule(lambda v: isinstance(v, str) and bool(v), "a file, 'hub' or 'none'")]
Best = Annotated[str | None, one_of("ema_dice", LOWEST_LOSS)]


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of one configuration; None leaves a thing to nnU-Net, or to the parts of the trainer's name.

    Attributes:
        num_iterations_per_epoch: training iterations of an epoch.
        num_val_iterations_per_epoch: validation iterations of an epoch.
        initial_lr: learning rate of the first epoch.
        weight_decay: of the optimizer.
        gradient_clipping: largest norm of the gradient, to which longer ones are shortened; ``none`` for no limit.
        mixed_precision: whether the network computes in half precision on a GPU, as nnU-Net's do; else in float32.
        plateau: fields of the optimisation's :class:`~nnunet_kits.training.schedules.Plateau`, in place of its own.
        deep_supervision: whether the lower resolutions have outputs of their own in training.
        oversample_foreground_percent: share of a batch, from 0 to 1, that is made to show foreground.
        save_every: epochs between checkpoints.
        mirror_axes: axes (0 to 2 for z, y, x; 0 and 1 for y, x of a 2D configuration) mirrored in augmentation and,
            without ``prediction_mirror_axes``, at prediction; ``[]`` for none.
        prediction_mirror_axes: axes mirrored at prediction.
        foreground_shares: name of a label or region -> share of the patches that ``TumorFocus`` aims at it.
        class_weights: one per output of the network, as a list or an object of their names; ``equal``; or
            ``frequencies``: from the labels of the training cases.
        loss_parameters: name of a loss -> its parameters.
        early_stopping_patience: epochs without a new lowest validation loss after which the training ends; ``none``
            for never.
        best_checkpoint: what the best checkpoint has the best of: ``ema_dice``, nnU-Net's moving average of the pseudo
            Dice, or ``val_loss``; None for the second with early stopping, else the first.
        mixup_alpha: both parameters of the beta distribution that mixup's shares are drawn from.
        mixup_probability: share of the iterations whose batch is mixed.
        imagenet_weights: a file of encoder weights, ``hub`` or ``none``.
        augmentation: name of a set of augmentations, or a JSON file with one; ``nnunet`` for nnU-Net's own.
        fast_loading: whether patches are read and augmented by our loops; else by nnU-Net's.
    """

    num_iterations_per_epoch: Count = None
    num_val_iterations_per_epoch: Count = None
    initial_lr: Positive = None
    weight_decay: NotNegative = None
    gradient_clipping: PositiveOrNone = None
    mixed_precision: Switch = True
    plateau: PlateauFields = None
    deep_supervision: Switch = True
    oversample_foreground_percent: Share = None
    save_every: Count = None
    mirror_axes: Axes = None
    prediction_mirror_axes: Axes = None
    foreground_shares: Shares = None
    class_weights: Weights = "frequencies"
    loss_parameters: LossParameters = None
    early_stopping_patience: CountOrNone = None
    best_checkpoint: Best = None
    mixup_alpha: Positive = None
    mixup_probability: Probability = None
    imagenet_weights: Encoder = "hub"
    augmentation: Set = DEFAULT_SET
    fast_loading: Switch = True


SETTINGS: dict[str, Rule] = rules_of(TrainingSettings)
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
    if not isinstance(given, Mapping):
        raise TrainingError(f"plans, configuration {name}: {KEY} is {given!r}, but must be an object of settings.")
    check_fields(f"plans, configuration {name}: {KEY}", given, SETTINGS)
    for key, value in given.items():
        dimensions = len(configuration.get("patch_size", [0, 0, 0]))
        if key.endswith("mirror_axes") and any(axis >= dimensions for axis in value):
            allowed = ", ".join(map(str, range(dimensions)))
            raise TrainingError(
                f"plans, configuration {name}: {KEY}.{key} is {value!r}, but {name} has patches of {dimensions} "
                f"dimensions. Allowed: {allowed}."
            )
    return TrainingSettings(**{**(usual or {}), **given})
