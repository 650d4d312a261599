"""What the shell's Tab key offers: presets, trainers, datasets, plans and models. Nothing heavy is imported for it.

``argcomplete`` runs ``nnunet_kits`` at every Tab, asks the parser what may come next, and the functions of
:data:`COMPLETERS` for the values. They read names of files and tables of names, and offer nothing where nothing is.
"""

import argparse
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Completer = Callable[..., Iterable[str]]
"""Called with ``prefix`` (what is typed of the word) and ``parsed_args`` (the words before it), among others."""

NO_PLANS = ("dataset", "dataset_fingerprint", "splits_final")
"""JSON files beside the plans in a folder of nnUNet_preprocessed."""


def complete(root: argparse.ArgumentParser) -> None:
    """Answer the shell and end the process, where it is the shell that asks."""
    import argcomplete

    for parser in _verbs(root).values():
        for action in parser._actions:
            for name in action.option_strings or [action.dest]:
                if name in COMPLETERS:
                    action.completer = COMPLETERS[name]  # type: ignore[attr-defined]
    argcomplete.autocomplete(root)


def _verbs(root: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Verb -> its parser."""
    (verbs,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    return dict(verbs.choices)


def _presets(prefix: str, **_: Any) -> list[str]:
    """Our presets, and files of one's own."""
    from nnunet_kits.planning.presets import preset_names

    return preset_names() + _json_files(prefix)


def _shipped(*folder: str) -> Completer:
    """The names of our JSON files in a folder of the package, and files of one's own."""
    files = Path(__file__).parents[1].joinpath(*folder)  # an import of the part would import numpy, or torch

    def names(prefix: str, **_: Any) -> list[str]:
        return sorted(file.stem for file in files.glob("*.json")) + _json_files(prefix)

    return names


def _json_files(prefix: str) -> list[str]:
    from argcomplete.completers import FilesCompleter

    return list(FilesCompleter(("json",))(prefix))


def _trainers(prefix: str, **_: Any) -> list[str]:
    """Names that begin as typed: a network's or a published system's, then any part that may follow."""
    from nnunet_kits.training.names import longer_names

    head, after, previous = prefix.partition("_after_")
    if after:
        return [f"{head}_after_{name}" for name in _trainers(previous)]
    return [*longer_names(prefix.rpartition("_")[0]), *(longer_names(prefix) if prefix else [])]


def _datasets(**_: Any) -> dict[str, str]:
    """Number -> name of every converted or planned dataset."""
    return {
        str(int(folder.name[7:10])): folder.name for folder in _dataset_folders("nnUNet_preprocessed", "nnUNet_raw")
    }


def _plans(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Plans of the dataset; of all where none is named yet."""
    number = getattr(parsed_args, "dataset_id", None)
    folders = [
        folder
        for folder in _dataset_folders("nnUNet_preprocessed")
        if number is None or int(folder.name[7:10]) == int(number)
    ]
    return sorted({file.stem for folder in folders for file in folder.glob("*.json")} - set(NO_PLANS))


def _configurations(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Configurations of the plans that are named."""
    for folder in _dataset_folders("nnUNet_preprocessed"):
        if int(folder.name[7:10]) == int(parsed_args.dataset_id or -1):
            try:
                plans = json.loads((folder / f"{parsed_args.plans}.json").read_text(encoding="utf-8"))
                return list(plans["configurations"])
            except (OSError, ValueError, KeyError, TypeError):
                return []
    return []


def _models(prefix: str, **_: Any) -> list[str]:
    """Installed models, and folders of trained ones in nnUNet_results; any other folder where none begins as typed."""
    from argcomplete.completers import DirectoriesCompleter

    from nnunet_kits.model_folder import model_folders
    from nnunet_kits.models.places import installed_names

    folders = [str(model.path) for folder in _dataset_folders("nnUNet_results") for model in model_folders(folder)]
    names = [name for name in [*installed_names(), *folders] if name.startswith(prefix)]
    return sorted(names) or list(DirectoriesCompleter()(prefix))


def _dataset_folders(*variables: str) -> list[Path]:
    """``DatasetNNN_*`` in the folders that these environment variables name."""
    roots = [Path(os.environ[variable]) for variable in variables if os.environ.get(variable)]
    found = [folder for root in roots for folder in root.glob("Dataset*") if folder.is_dir()]
    return sorted(folder for folder in found if re.fullmatch(r"Dataset\d{3}_.+", folder.name))


COMPLETERS: dict[str, Completer] = {
    "--preset": _presets,
    "--chain": _shipped("postprocessing", "chains"),
    "--chains": _shipped("postprocessing", "chains"),
    "--rule": _shipped("derivation", "rules"),
    "--system": _shipped("inference", "systems"),
    "recipe": _shipped("recipes"),
    "-tr": _trainers,
    "--previous-trainer": _trainers,
    "name": _trainers,
    "-d": _datasets,
    "-p": _plans,
    "-c": _configurations,
    "--fine": _models,
    "--coarse": _models,
    "--model": _models,
}
"""An option, or the name of a positional argument, in whichever verb -> what may be typed there."""
