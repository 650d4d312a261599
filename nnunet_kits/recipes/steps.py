"""A step of a run: one command that a user may type, what it needs, and after which others it comes."""

import os
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.environment import CPU_VARIABLES, FOLDER_VARIABLES, TRAINER_VARIABLE, waiting, with_shim

VERBS = (
    *("phantom", "convert", "derive", "fingerprint", "plan", "preprocess", "train", "predict", "restore"),
    *("postprocess", "evaluate", "measure", "report"),
)
"""What a step may do, in the order of the line."""


@dataclass(frozen=True)
class Resources:
    """What a step is given on a cluster.

    Attributes:
        gpus: graphics cards.
        cpus: processors.
        memory_gb: of the machine, not of the card.
        hours: at most.
        disk_gb: that its results take.
    """

    gpus: int = 0
    cpus: int = 1
    memory_gb: float = 4
    hours: float = 1
    disk_gb: float = 1


@dataclass(frozen=True)
class Step:
    """One command of a run.

    Attributes:
        name: unique in the run and safe as a file's name.
        verb: one of :data:`VERBS`.
        command: what a user may type: nnU-Net's own command or ours.
        after: names of the steps whose results it reads.
        resources: what it needs.
    """

    name: str
    verb: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    resources: Resources = Resources()


@dataclass(frozen=True)
class RunSettings:
    """Where and how a recipe is run.

    Attributes:
        root: folder for nnU-Net's three folders and for ``runs/``.
        data: the KiTS folder; None for a recipe that makes its own.
        folds: those to train and to score; None for what the recipe says. What other stages read is trained whole.
        device: ``cuda``, ``cpu`` or ``mps``.
        num_gpus: graphics cards of one training.
        until: a step's name or a verb: nothing is done that these do not need; None for all.
        smoke: the same steps with tiny networks and few iterations.
    """

    root: Path
    data: Path | None = None
    folds: tuple[int, ...] | None = None
    device: str = "cuda"
    num_gpus: int = 1
    until: str | None = None
    smoke: bool = False

    @property
    def raw(self) -> Path:
        """``nnUNet_raw``."""
        return self.root / "nnUNet_raw"

    @property
    def preprocessed(self) -> Path:
        """``nnUNet_preprocessed``."""
        return self.root / "nnUNet_preprocessed"

    @property
    def results(self) -> Path:
        """``nnUNet_results``."""
        return self.root / "nnUNet_results"

    def folder(self, recipe: str) -> Path:
        """What belongs to one recipe alone."""
        return self.root / "runs" / recipe


def environment_of(run: RunSettings) -> dict[str, str]:
    """The variables that the commands of a run need: nnU-Net's folders, our trainers, and on a CPU few processes."""
    settings = {name: str(run.root / name) for name in FOLDER_VARIABLES}
    settings[TRAINER_VARIABLE] = with_shim(os.environ.get(TRAINER_VARIABLE))
    if run.device == "cpu":
        settings |= CPU_VARIABLES | {"nnUNet_n_proc_DA": "0"} | waiting(os.environ)
    return settings
