"""Which models somebody means: folders, or names of installed ones, each with a checkpoint of its own if it has one.

What their dataset.json tells is checked here, before torch is imported.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.suitability import check_channels, dataset_of, kidney_values
from nnunet_kits.model_folder import FINAL
from nnunet_kits.models.catalogue import entry_names
from nnunet_kits.models.places import installed, installed_names, installed_with
from nnunet_kits.training.previous_stage import coarse_model_folder

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


@dataclass(frozen=True)
class ChosenModels:
    """The models of a prediction coarse to fine.

    Attributes:
        fine: at least one; several are averaged.
        coarse: that finds the kidneys, or None.
        coarse_labels: of the coarse model those that are the kidneys; none for all.
    """

    fine: tuple[Chosen, ...]
    coarse: Chosen | None = None
    coarse_labels: tuple[str, ...] = ()

    @property
    def by_folder(self) -> dict[Path, Chosen]:
        """Resolved folder -> model, of all."""
        return {one.folder.resolve(): one for one in (*self.fine, *([self.coarse] if self.coarse else []))}

    @property
    def postprocessing(self) -> str | None:
        """The chain of the fine model, where it is the only one."""
        return self.fine[0].postprocessing if len(self.fine) == 1 else None


def choose_models(fine: Sequence[str], coarse: str | None = None, coarse_labels: Sequence[str] = ()) -> ChosenModels:
    """The models that are named, checked by their dataset.json.

    Args:
        fine: folders or names, as :func:`choose_model` takes them.
        coarse: the same; None for a cascade's low-resolution stage, or for none.
        coarse_labels: of the coarse model those that are the kidneys; none for what an installed one knows itself.

    Raises:
        InferenceError: a model that is not there or not of one CT; labels of no coarse model, or that it does not have.
        ModelError: what is known of an installed model is damaged.
    """
    found = [choose_model(text) for text in fine]
    finder = choose_model(coarse) if coarse else None
    if coarse_labels and finder is None:
        raise InferenceError("--coarse-labels belongs to a coarse model. Name one with --coarse.")
    labels = tuple(coarse_labels) or (finder.coarse_labels if finder else ())
    described = {one.folder: dataset_of(one.folder) for one in (*found, *([finder] if finder else []))}
    for folder, content in described.items():
        if content is not None:
            check_channels(folder, content)
    if finder and found:
        finds, wanted = described[finder.folder], described[found[0].folder]
        if finds is not None and wanted is not None:
            kidney_values(finder.folder, finds, wanted, labels)
    if found and finder is None and (first_stage := coarse_model_folder(found[0].folder)):
        finder = Chosen(first_stage)
    return ChosenModels(tuple(found), finder, labels)


def choose_members(texts: Sequence[str]) -> dict[str, tuple[Chosen, ...]]:
    """The models for the places of a system, each named ``KEY=MODEL``.

    Raises:
        InferenceError: a text that is not so; a model that sees turned scans, which a system does not make.
        ModelError: what is known of an installed model is damaged.
    """
    found: dict[str, tuple[Chosen, ...]] = {}
    for text in texts:
        key, equals, folder = text.partition("=")
        if not (key and equals and folder):
            raise InferenceError(f"--model {text}: is KEY=FOLDER, for example coarse=nnUNet_results/.../...")
        model = choose_model(folder)
        if model.orientation is not None:
            raise InferenceError(
                f"--model {text}: sees turned scans, which a system does not make. Use it with --fine."
            )
        found[key] = (*found.get(key, ()), model)
    return found


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
