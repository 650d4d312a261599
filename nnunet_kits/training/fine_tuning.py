"""A training that begins from another's weights (``nnUNetv2_train -pretrained_weights FILE``): do they fit?

nnU-Net reads that file itself, when the trainer is built, and tells the trainer nothing of it. What does not fit ends
there in a traceback that prints whole weights. So the file is looked at before, as the command line names it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_kits.errors import TrainingError
from nnunet_kits.training.checkpoint_data import data_only, refuse_code
from nnunet_kits.training.checkpoints import is_readable

OPTION = "-pretrained_weights"
WEIGHTS = "network_weights"
"""What nnU-Net's checkpoints call the weights."""

HEADS = ".seg_layers."
"""In the name of a weight that makes classes of features: nnU-Net lets these begin anew."""

MOVE = "nnUNetv2_move_plans_between_datasets gives a dataset the plans of another"


def file_asked_for(arguments: Sequence[str]) -> Path | None:
    """The file that a command line of ``nnUNetv2_train`` begins from; None where it begins from none, or goes on.

    Args:
        arguments: of the process. A rank of several GPUs has those of the command that started it.
    """
    if "--c" in arguments or "--val" in arguments:
        return None
    for word, following in zip(arguments, [*arguments[1:], None], strict=True):
        option, equals, value = word.partition("=")
        if option == OPTION:
            return Path(value) if equals else Path(following) if following else None
    return None


@dataclass(frozen=True)
class Weights:
    """What a checkpoint says of its weights.

    Attributes:
        file: the checkpoint.
        shapes: of each weight.
        origin: of whom they are, for the log.
    """

    file: Path
    shapes: Mapping[str, tuple[int, ...]]
    origin: str

    def check_fit(self, trainer: str, network: Mapping[str, torch.Tensor], channels: int) -> None:
        """Refuse weights that nnU-Net would refuse: all but those of the heads must be there, in the same shape.

        Args:
            trainer: its name, its configuration and plans, for the message.
            network: the weights of the network that is to begin from them.
            channels: of its input.

        Raises:
            TrainingError: what does not fit, and what to do.
        """
        needed = {key: tuple(weight.shape) for key, weight in network.items() if HEADS not in key}
        wrong = [key for key, shape in needed.items() if self.shapes.get(key) != shape]
        if not wrong:
            return
        others = {self._other_channels(key, needed[key], channels) for key in wrong}
        if None not in others and len(others) == 1:
            raise TrainingError(
                f"{self.file}: its network ({self.origin}) sees {others.pop()} channels, but that of {trainer} sees "
                f"{channels}; a cascade's full resolution sees the labels of the low one too. Give weights of the same "
                f"stage, or train without {OPTION}."
            )
        first = wrong[0]
        theirs = f"is {_told(self.shapes[first])}" if first in self.shapes else "is missing"
        raise TrainingError(
            f"{self.file}: its weights ({self.origin}) do not fit {trainer}: {len(wrong)} of {len(needed)} differ. The "
            f"first, {first}, {theirs}, and should be {_told(needed[first])}. Train the same kind of network, with the "
            f"plans of the weights: {MOVE}."
        )

    def _other_channels(self, key: str, needed: tuple[int, ...], channels: int) -> int | None:
        """Channels of the file's input, where this weight differs in nothing else."""
        theirs = self.shapes.get(key, ())
        alike = len(theirs) == len(needed) > 2 and (theirs[0], *theirs[2:]) == (needed[0], *needed[2:])
        return theirs[1] if alike and needed[1] == channels else None


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def read_weights(file: Path, only_here: bool = True) -> Weights:
    """Look into a checkpoint of nnU-Net, of whichever trainer, as data: nothing in it is executed, here or by nnU-Net.

    Args:
        file: the checkpoint.
        only_here: whether weights that lie on a device that this machine lacks are refused, as nnU-Net, which loads
            them to where they were, cannot have them.

    Raises:
        TrainingError: it is not there, no checkpoint, damaged, of nnU-Net v1, or for another device.
        CheckpointError: it holds more than data.
    """
    if not file.is_file():
        raise TrainingError(f"{OPTION} {file}: there is no such file. Give a checkpoint_final.pth of a trained fold.")
    if not is_readable(file):
        raise TrainingError(
            f"{OPTION} {file}: the file is damaged, or no checkpoint. Give a checkpoint_final.pth of a trained fold."
        )
    devices: set[str] = set()

    def on_cpu(storage: Any, location: str) -> Any:
        devices.add(location)
        return storage

    refuse_code(file, "Give a checkpoint that a training of nnU-Net wrote.")
    try:
        with data_only():
            content = torch.load(file, map_location=on_cpu, mmap=True)
    except Exception as error:  # a pickle may fail in any way
        raise TrainingError(f"{OPTION} {file}: it cannot be read as a checkpoint: {error}.") from error
    if not isinstance(content, dict) or WEIGHTS not in content:
        raise TrainingError(
            f"{OPTION} {file}: it holds no {WEIGHTS}, so it is no checkpoint of nnU-Net v2. Those of v1 are of other "
            "networks and cannot be used."
        )
    away = sorted(device for device in devices if not _is_here(device))
    if away and only_here:
        raise TrainingError(
            f"{OPTION} {file}: its weights lie on {', '.join(away)}, and nnU-Net loads them to nowhere else, but this "
            f'machine has none. Copy them to the CPU: python -c "import torch; torch.save(torch.load({str(file)!r}, '
            "map_location='cpu', weights_only=False), 'on_cpu.pth')\", and give on_cpu.pth."
        )
    shapes = {key: tuple(weight.shape) for key, weight in content[WEIGHTS].items()}
    return Weights(file, shapes, _origin(content))


def _origin(content: Mapping[str, Any]) -> str:
    """Of whom a checkpoint is, as far as it says so."""
    given = content.get("init_args", {})
    plans = given.get("plans", {})
    words = [content.get("trainer_name", "a trainer without a name"), given.get("configuration")]
    words += [plans.get("plans_name"), plans.get("dataset_name")]
    return ", ".join(str(word) for word in words if word)


def _is_here(device: str) -> bool:
    kind, _, number = device.partition(":")
    if kind == "cuda":
        return int(number or 0) < torch.cuda.device_count()
    return kind != "mps" or torch.backends.mps.is_available()
