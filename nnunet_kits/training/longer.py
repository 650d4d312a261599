"""A training that goes on from a finished shorter one: ``ResUNetTrainer_1500epochs --c`` beside ``ResUNetTrainer``.

nnU-Net's ``--c`` looks for checkpoints in the training's own folder. Before it looks, those of the longest finished
training of the same parts are put there. No file of the shorter one is ever changed: checkpoints are written under
another name and renamed, so a link to one keeps its content.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nnunet_kits.errors import TrainerNameError, TrainingError
from nnunet_kits.model_folder import BEST, FINAL, LATEST, ModelFolder, model_folders
from nnunet_kits.training.checkpoint_data import read_checkpoint
from nnunet_kits.training.checkpoints import is_readable, link_or_copy
from nnunet_kits.training.names import TrainerName, is_ours, parse_trainer_name
from nnunet_kits.training.previous_stage import resolved
from nnunet_kits.training.settings import KEY


def finished_shorter(model: ModelFolder, fold: int | str) -> ModelFolder | None:
    """The longest finished training of this fold that differs from ``model`` in its length alone, and is shorter.

    Args:
        model: folder of a trainer of ours.
        fold: 0 to 4 or ``all``.
    """
    if not model.dataset_folder.is_dir():
        return None
    ours = parse_trainer_name(model.trainer)
    found: dict[int, ModelFolder] = {}
    for other in model_folders(model.dataset_folder):
        same_place = (other.plans, other.configuration) == (model.plans, model.configuration)
        if same_place and (other.fold(fold) / FINAL).is_file():
            epochs = _epochs_if_same(ours, other.trainer)
            if epochs is not None and epochs < ours.epochs:
                found[epochs] = other
    return found[max(found)] if found else None


def _epochs_if_same(ours: TrainerName, name: str) -> int | None:
    """Epochs of a trainer that differs from ours in nothing else; None if it does.

    ``X_1500epochs_after_X`` reads the low-resolution predictions that ``X`` does.
    """
    try:
        other = parse_trainer_name(name) if is_ours(name) else None
    except TrainerNameError:  # of an earlier version
        other = None
    if other is None:
        return None
    follows = ours.previous_trainer in (other.previous_trainer, other.previous_trainer or name)
    alike = replace(other, epochs=ours.epochs, previous_trainer=ours.previous_trainer) == ours
    return other.epochs if alike and follows else None


def go_on_from(
    shorter: ModelFolder, model: ModelFolder, fold: int | str, plans: Mapping[str, Any], labels: Mapping[str, Any]
) -> None:
    """Put the final checkpoint of a shorter training, and its best, where ``--c`` finds them.

    Args:
        shorter: from :func:`finished_shorter`.
        model: folder of the longer training.
        fold: 0 to 4 or ``all``.
        plans: of the longer training.
        labels: ``labels`` of its dataset.json.

    Raises:
        TrainingError: the shorter one's checkpoint is damaged, or of other plans or labels.
        CheckpointError: it holds more than data.
    """
    final, folder = shorter.fold(fold) / FINAL, model.fold(fold)
    afresh = f"To train {model.trainer} from the beginning, leave --c out."
    if not is_readable(final):
        raise TrainingError(f"{final}: the checkpoint is damaged, so {model.trainer} cannot go on from it. {afresh}")
    given = read_checkpoint(final)["init_args"]
    then = {**_what_counts(given["plans"], model.configuration), "labels": given["dataset_json"]["labels"]}
    now = {**_what_counts(plans, model.configuration), "labels": labels}
    for key in sorted({*then, *now}):
        if then.get(key) != now.get(key):
            raise TrainingError(
                f"{model.trainer} cannot go on from {final}: {key} of plans {model.plans}, configuration "
                f"{model.configuration}, was {then.get(key)!r} then and is {now.get(key)!r} now. Put the plans back, "
                f"or train under another plans name. {afresh}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    link_or_copy(final, folder / LATEST)
    if (best := shorter.fold(fold) / BEST).is_file():
        link_or_copy(best, folder / BEST)


def _what_counts(plans: Mapping[str, Any], configuration: str) -> dict[str, Any]:
    """What a network and its data depend on: all of a configuration but our training settings, and of the whole."""
    own = {key: value for key, value in resolved(plans["configurations"], configuration).items() if key != KEY}
    whole = ("transpose_forward", "foreground_intensity_properties_per_channel", "label_manager")
    return {**own, **{key: plans.get(key) for key in whole}}


def schedule_told(epochs: int, done: int, last: float, would: float, following: float) -> str:
    """What becomes of the learning rate, for the log.

    Args:
        epochs: of the longer training.
        done: epochs of the shorter one.
        last: rate of its last epoch.
        would: rate that the longer schedule has for that epoch.
        following: rate of the next epoch.
    """
    if abs(last - would) <= 1e-9 * abs(would):
        return f"The learning rate, {following:.3g} now, goes on as in one training of {epochs} epochs."
    return (
        f"The learning rate, {last:.3g} in epoch {done - 1}, is {following:.3g} now: the schedule is that of {epochs} "
        f"epochs, by which epoch {done - 1} would have had {would:.3g}. So this is a restart in the middle of it, and "
        f"not what one training of {epochs} epochs gives."
    )
