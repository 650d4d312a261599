"""The grammar of trainer names. Pure strings: nothing of torch or nnU-Net is imported here.

``<Network>Trainer[_<Loss>][_<Sampling>][_<Optimisation>][_Mixup][_<n>epochs][_after_<Trainer>]``

``ResUNetTrainer`` is the network with nnU-Net's own loss, sampling and schedule;
``ResUNetTrainer_AdamWCosine_250epochs`` changes two of its parts; ``..._after_PlainUNetTrainer`` trains the cascade on
another trainer's low-resolution predictions. A published system's trainer (``ZhangResUNetTrainer``) begins with its own
parts, and takes others the same way.
"""

import difflib
import re
from dataclasses import dataclass, replace

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.errors import TrainerNameError
from nnunet_kits.losses import DEFAULT_LOSS, LOSSES
from nnunet_kits.model_folder import SEPARATOR
from nnunet_kits.training.optimisation import DEFAULT_OPTIMISATION, OPTIMISATIONS
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.sampling import DEFAULT_SAMPLING, SAMPLINGS

GRAMMAR = "<Network>Trainer[_<Loss>][_<Sampling>][_<Optimisation>][_Mixup][_<n>epochs][_after_<Trainer>]"
DEFAULT_EPOCHS = 1000
"""nnU-Net's own number of epochs."""

PLANNED = "PlannedUNet"
"""The network that the plans name, whatever it is: nnU-Net's own plain or residual encoder U-Nets."""

MIXUP = "Mixup"
AFTER = "_after_"


@dataclass(frozen=True)
class TrainerName:
    """The parts of a trainer's name.

    Attributes:
        network: key of ``NETWORKS``, or ``PlannedUNet`` for the one that the plans name.
        loss: key of ``LOSSES``.
        sampling: key of ``SAMPLINGS``.
        optimisation: key of ``OPTIMISATIONS``.
        mixup: whether the images of a batch are mixed in pairs.
        epochs: length of the training.
        previous_trainer: trainer whose low-resolution predictions the cascade reads; None for the same trainer.
        published: key of ``PUBLISHED`` that the name begins with, whose parts are then the defaults; or None.
    """

    network: str
    loss: str = DEFAULT_LOSS
    sampling: str = DEFAULT_SAMPLING
    optimisation: str = DEFAULT_OPTIMISATION
    mixup: bool = False
    epochs: int = DEFAULT_EPOCHS
    previous_trainer: str | None = None
    published: str | None = None

    def __str__(self) -> str:
        """The name, defaults left out."""
        head = self.published or f"{self.network}Trainer"
        usual = trainer_of(head)
        parts = [head]
        parts += [
            getattr(self, field)
            for field in ("loss", "sampling", "optimisation")
            if getattr(self, field) != getattr(usual, field)
        ]
        if self.mixup and not usual.mixup:
            parts.append(MIXUP)
        if self.epochs != usual.epochs:
            parts.append(f"{self.epochs}epochs")
        own = "_".join(parts)
        return own if self.previous_trainer is None else join_after(own, self.previous_trainer)


def split_after(name: str) -> tuple[str, str | None]:
    """A trainer's own name, and the one that it says its low-resolution predictions are of; None where it says none."""
    own, _, previous = name.partition(AFTER)
    return own, previous or None


def join_after(own: str, previous: str) -> str:
    """The name of a trainer that reads another's low-resolution predictions."""
    return f"{own}{AFTER}{previous}"


def heads() -> list[str]:
    """What a trainer's name can begin with: a network's trainer, or that of a published system."""
    return [*(f"{network}Trainer" for network in (*NETWORKS, PLANNED)), *PUBLISHED]


def trainer_of(head: str) -> TrainerName:
    """The parts of a name that is nothing but one of :func:`heads`."""
    if head in PUBLISHED:
        return TrainerName(**PUBLISHED[head].parts, published=head)
    return TrainerName(head.removesuffix("Trainer"))


def longer_names(name: str) -> list[str]:
    """Every name that is this one and one part more, but for lengths and ``_after_``; every head for an empty name."""
    if not name:
        return heads()
    return [longer for part in (*LOSSES, *SAMPLINGS, *OPTIMISATIONS, MIXUP) if _is_name(longer := f"{name}_{part}")]


def _is_name(name: str) -> bool:
    try:
        parse_trainer_name(name)
    except TrainerNameError:
        return False
    return True


def is_ours(name: str) -> bool:
    """Whether a trainer name begins with one of our heads, so that we answer for it."""
    return name.partition("_")[0] in heads()


def near_miss(name: str) -> str | None:
    """One of our trainers that ``name``, which is not ours, may have meant; None where none is close."""
    if name.startswith("nnUNetTrainer"):
        return None  # nnU-Net's own, or somebody's who named theirs after it
    head, _, rest = name.partition("_")
    close = difflib.get_close_matches(head, heads(), 1, 0.8)
    return "_".join([close[0], rest] if rest else close) if close else None


def parse_trainer_name(name: str) -> TrainerName:
    """Take a trainer's name apart.

    Raises:
        TrainerNameError: an unknown, repeated or misplaced part; the message lists what is known.
    """
    if SEPARATOR in name:
        raise TrainerNameError(
            f"{name}: '{SEPARATOR}' separates the parts of a results folder, so no name may hold it."
        )
    own, previous = split_after(name)
    head, *parts = own.split("_")
    if head not in heads():
        raise TrainerNameError(
            f"{name}: no network is called {head.removesuffix('Trainer')!r}. Known: {', '.join((*NETWORKS, PLANNED))}. "
            f"Published systems: {', '.join(PUBLISHED)}. Names are {GRAMMAR}."
        )
    values: dict[str, str | int | bool] = {}
    for part in parts:
        field, value = _field_of(name, part)
        if field in values:
            raise TrainerNameError(f"{name}: {part!r} gives the {field} a second time. Names are {GRAMMAR}.")
        values[field] = value
    if name.endswith(AFTER) or (previous and not re.fullmatch(r"\w+", previous)):
        raise TrainerNameError(f"{name}: '{AFTER}' must be followed by a trainer's name. Names are {GRAMMAR}.")
    if previous and is_ours(previous):
        parse_trainer_name(previous)
    previous = None if previous == own else previous
    parsed = replace(trainer_of(head), **values, previous_trainer=previous)  # type: ignore[arg-type]
    if str(parsed) != name:
        raise TrainerNameError(f"{name}: write it {parsed} (results are filed under the name). Names are {GRAMMAR}.")
    return parsed


def _field_of(name: str, part: str) -> tuple[str, str | int | bool]:
    for field, known in (("loss", LOSSES), ("sampling", SAMPLINGS), ("optimisation", OPTIMISATIONS)):
        if part in known:
            return field, part
    if part == MIXUP:
        return "mixup", True
    if (match := re.fullmatch(r"(\d+)epochs", part)) and int(match[1]) > 0:
        return "epochs", int(match[1])
    close = difflib.get_close_matches(part, [*LOSSES, *SAMPLINGS, *OPTIMISATIONS, MIXUP, "100epochs"], 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TrainerNameError(
        f"{name}: no part of a trainer's name is called {part!r}.{hint} Losses: {', '.join(LOSSES)}. "
        f"Samplings: {', '.join(SAMPLINGS)}. Optimisations: {', '.join(OPTIMISATIONS)}. Also: {MIXUP}. "
        f"Length: <n>epochs. Names are {GRAMMAR}."
    )
