"""Which model somebody means: a folder, or the name of an installed one, with a checkpoint of its own if it has one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.errors import InferenceError
from nnunet_kits.model_folder import FINAL
from nnunet_kits.models.catalogue import entry_names
from nnunet_kits.models.places import installed, installed_names, installed_with

CHECKPOINT = re.compile(r"(?P<model>.+):(?P<checkpoint>[^:/\\]+\.pth)")


@dataclass(frozen=True)
class Chosen:
    """A model that somebody named.

    Attributes:
        folder: its folder, which need not exist.
        checkpoint: its own; None for the one that holds for all.
        orientation: to which axes its scans were turned for training; None where they lay as their files do.
        coarse_labels: of a model of many organs those that are the kidneys.
        postprocessing: what its authors do to its label maps: a chain, or None.
    """

    folder: Path
    checkpoint: str | None = None
    orientation: str | None = None
    coarse_labels: tuple[str, ...] = ()
    postprocessing: str | None = None


def choose_model(text: str) -> Chosen:
    """The model that a folder or a name means, alone or with ``:checkpoint_best.pth`` behind it.

    Raises:
        InferenceError: a model of the catalogue that is not installed, or a name of several models.
        ModelError: what is known of an installed model is damaged.
    """
    found = None if Path(text).is_dir() else CHECKPOINT.fullmatch(text)
    name, own = (found["model"], found["checkpoint"]) if found else (text, None)
    if not Path(name).is_dir():
        if name not in installed_names():
            if name in entry_names():
                raise InferenceError(f"{name}: is not installed. Run: nnunet_kits models download {name}")
            return Chosen(Path(name), own)
        return _installed(name, own)
    model = installed_with(Path(name))
    return Chosen(Path(name), own) if model is None else _known(Path(name), model.name, own)


def check_checkpoint_name(name: str) -> None:
    """Refuse what is no file in a fold's folder.

    Raises:
        InferenceError: a path.
    """
    if Path(name).name != name or "\\" in name or not name.endswith(".pth"):
        raise InferenceError(f"--checkpoint {name}: is a file in the folds' folders, such as {FINAL}, and no path.")


def _installed(name: str, checkpoint: str | None) -> Chosen:
    model = installed(name)
    assert model is not None  # its name was listed
    if len(model.paths) != 1:
        folders: Sequence[Path] = model.paths
        raise InferenceError(f"{name}: holds several models. Name one by its folder: {', '.join(map(str, folders))}.")
    return _known(model.paths[0], name, checkpoint)


def _known(folder: Path, name: str, checkpoint: str | None) -> Chosen:
    model = installed(name)
    assert model is not None  # the folder is one of its own
    own = checkpoint or (model.checkpoint if model.checkpoint != FINAL else None)
    return Chosen(folder, own, model.orientation, tuple(model.coarse_labels), model.postprocessing)
