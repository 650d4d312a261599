"""The grammar of trainer names. Pure strings: nothing of torch or nnU-Net is imported here.

``<Network>Trainer[_<Loss>][_<Optimisation>][_<n>epochs][_after_<Trainer>]``

``ResUNetTrainer`` is the network with nnU-Net's own loss and schedule; ``ResUNetTrainer_AdamWCosine_250epochs`` changes
two of its parts; ``..._after_PlainUNetTrainer`` trains the cascade on another trainer's low-resolution predictions.
"""

import difflib
import re
from dataclasses import dataclass

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.errors import TrainerNameError
from nnunet_kits.losses import DEFAULT_LOSS, LOSSES
from nnunet_kits.training.optimisation import DEFAULT_OPTIMISATION, OPTIMISATIONS

GRAMMAR = "<Network>Trainer[_<Loss>][_<Optimisation>][_<n>epochs][_after_<Trainer>]"
DEFAULT_EPOCHS = 1000
"""nnU-Net's own number of epochs."""


@dataclass(frozen=True)
class TrainerName:
    """The parts of a trainer's name.

    Attributes:
        network: key of ``NETWORKS``.
        loss: key of ``LOSSES``.
        optimisation: key of ``OPTIMISATIONS``.
        epochs: length of the training.
        previous_trainer: trainer whose low-resolution predictions the cascade reads; None for the same trainer.
    """

    network: str
    loss: str = DEFAULT_LOSS
    optimisation: str = DEFAULT_OPTIMISATION
    epochs: int = DEFAULT_EPOCHS
    previous_trainer: str | None = None

    def __str__(self) -> str:
        """The name, defaults left out."""
        parts = [f"{self.network}Trainer"]
        if self.loss != DEFAULT_LOSS:
            parts.append(self.loss)
        if self.optimisation != DEFAULT_OPTIMISATION:
            parts.append(self.optimisation)
        if self.epochs != DEFAULT_EPOCHS:
            parts.append(f"{self.epochs}epochs")
        if self.previous_trainer is not None:
            parts.append(f"after_{self.previous_trainer}")
        return "_".join(parts)


def is_ours(name: str) -> bool:
    """Whether a trainer name begins with one of our networks, so that we answer for it."""
    return any(re.match(rf"{network}Trainer(_|$)", name) for network in NETWORKS)


def near_miss(name: str) -> str | None:
    """One of our trainers that ``name``, which is not ours, may have meant; None where none is close."""
    if name.startswith("nnUNetTrainer"):
        return None  # nnU-Net's own, or somebody's who named theirs after it
    head, _, rest = name.partition("_")
    close = difflib.get_close_matches(head, [f"{network}Trainer" for network in NETWORKS], 1, 0.8)
    return "_".join([close[0], rest] if rest else close) if close else None


def parse_trainer_name(name: str) -> TrainerName:
    """Take a trainer's name apart.

    Raises:
        TrainerNameError: an unknown, repeated or misplaced part; the message lists what is known.
    """
    if "__" in name:
        raise TrainerNameError(f"{name}: '__' separates the parts of a results folder, so no name may hold it.")
    own, _, previous = name.partition("_after_")
    head, *parts = own.split("_")
    network = head.removesuffix("Trainer")
    if network not in NETWORKS or not head.endswith("Trainer"):
        raise TrainerNameError(
            f"{name}: no network is called {network!r}. Known: {', '.join(NETWORKS)}. Names are {GRAMMAR}."
        )
    values: dict[str, str | int] = {}
    for part in parts:
        field, value = _field_of(name, part)
        if field in values:
            raise TrainerNameError(f"{name}: {part!r} gives the {field} a second time. Names are {GRAMMAR}.")
        values[field] = value
    if name.endswith("_after_") or (previous and not re.fullmatch(r"\w+", previous)):
        raise TrainerNameError(f"{name}: '_after_' must be followed by a trainer's name. Names are {GRAMMAR}.")
    if previous and is_ours(previous):
        parse_trainer_name(previous)
    previous = "" if previous == own else previous
    parsed = TrainerName(network, **values, previous_trainer=previous or None)  # type: ignore[arg-type]
    if str(parsed) != name:
        raise TrainerNameError(f"{name}: write it {parsed} (results are filed under the name). Names are {GRAMMAR}.")
    return parsed


def _field_of(name: str, part: str) -> tuple[str, str | int]:
    if part in LOSSES:
        return "loss", part
    if part in OPTIMISATIONS:
        return "optimisation", part
    if (match := re.fullmatch(r"(\d+)epochs", part)) and int(match[1]) > 0:
        return "epochs", int(match[1])
    close = difflib.get_close_matches(part, [*LOSSES, *OPTIMISATIONS, "100epochs"], 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TrainerNameError(
        f"{name}: no part of a trainer's name is called {part!r}.{hint} Losses: {', '.join(LOSSES)}. "
        f"Optimisations: {', '.join(OPTIMISATIONS)}. Length: <n>epochs. Names are {GRAMMAR}."
    )
