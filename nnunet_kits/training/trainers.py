"""All trainers, by name. A composed one is built when it is first asked for, and is one object ever after.

``nnunet_kits.training.trainers.ResUNetTrainer_AdamWCosine_20epochs`` is an ordinary attribute of this module, so its
class pickles by reference and unpickles in a fresh process.
"""

from typing import TYPE_CHECKING

from nnunet_kits.training.names import is_ours, parse_trainer_name
from nnunet_kits.training.published import PUBLISHED

if TYPE_CHECKING:
    from nnunet_kits.training.base import KitsTrainer

NAMED_TRAINERS = ("ResUNetTrainer", "PreActResUNetTrainer", "PlainUNetTrainer", "PlannedUNetTrainer", *PUBLISHED)
"""The trainers that the documentation speaks of by name."""


def trainer_class(name: str) -> "type[KitsTrainer]":
    """The trainer class with this name.

    Raises:
        TrainerNameError: a part of the name is not known.
    """
    found = globals().get(name)
    if found is None:
        found = globals()[name] = _compose(name)
    return found


def _compose(name: str) -> "type[KitsTrainer]":
    parts = parse_trainer_name(name)
    from nnunet_kits.training.base import KitsTrainer

    return type(
        name,
        (KitsTrainer,),
        {
            "__module__": __name__,
            "__doc__": f"Network {parts.network}, loss {parts.loss}, sampling {parts.sampling}, {parts.optimisation}, "
            f"{'mixup, ' if parts.mixup else ''}{parts.epochs} epochs.",
            "parts": parts,
        },
    )


def __getattr__(name: str) -> "type[KitsTrainer]":
    if not is_ours(name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return trainer_class(name)
