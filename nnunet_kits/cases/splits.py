"""nnU-Net's ``splits_final.json``: which cases a fold trains and validates, and which are held out of all folds."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nnunet_kits.errors import KitsError
from nnunet_kits.json_files import read_json, read_object

SPLITS_FILE = "splits_final.json"
HELD_OUT = "held_out"
"""What the cases are called that no fold trains or validates."""

Split = dict[str, list[str]]
"""``train`` and ``val``: names of cases."""


def read_splits(file: Path, error: type[KitsError] = KitsError) -> list[Split]:
    """The folds of a ``splits_final.json``.

    Args:
        file: a list with an object for each fold, which has lists of names under ``train`` and ``val``.
        error: raised where it is none.

    Raises:
        KitsError: of that type.
    """
    splits = read_json(file, error)
    try:
        sound = splits and all(
            isinstance(split[part], list) and split[part] and all(isinstance(name, str) for name in split[part])
            for split in splits
            for part in ("train", "val")
        )
    except (TypeError, KeyError):
        sound = False
    if not isinstance(splits, list) or not sound:
        raise error(f'{file}: is not nnU-Net\'s {SPLITS_FILE}, a list of {{"train": [cases], "val": [cases]}}.')
    return [{part: list(split[part]) for part in ("train", "val")} for split in splits]


def beside_training(model: Path, *names: str) -> list[Path]:
    """Where the dataset that a model was trained on may have something, by nnU-Net's variables.

    Args:
        model: ``nnUNet_results/DatasetNNN_Name/<trainer>__<plans>__<configuration>``.
        names: in the dataset's folders, the first ones first.

    Returns:
        For each name the place below ``nnUNet_preprocessed`` and below ``nnUNet_raw``, as far as these are set.
    """
    dataset = model.resolve().parent.name
    roots = [os.environ.get(variable) for variable in ("nnUNet_preprocessed", "nnUNet_raw")]
    return [Path(root) / dataset / name for name in names for root in roots if root]


def splits_of_model(model: Path, error: type[KitsError] = KitsError) -> list[Split] | None:
    """The splits that a model was trained by: those that training reads, else the raw dataset's; None without.

    Raises:
        KitsError: of the type ``error``, where there is a file that is none.
    """
    found = next((file for file in beside_training(model, SPLITS_FILE) if file.is_file()), None)
    return None if found is None else read_splits(found, error)


def source_of_model(model: Path, error: type[KitsError] = KitsError) -> Path | None:
    """The raw dataset that a model's dataset was derived from; None where it was not.

    Raises:
        KitsError: of the type ``error``, where its derivation.json does not say it.
    """
    record = next((file for file in beside_training(model, "derivation.json") if file.is_file()), None)
    if record is None:
        return None
    source = read_object(record, error).get("source")
    if not isinstance(source, str):
        raise error(f"{record}: does not say what the dataset was derived from: source is {source!r}. Derive it again.")
    return Path(source)


def held_out(splits: Sequence[Split], cases: Iterable[str]) -> list[str]:
    """The cases that no fold trains or validates, in their order."""
    used = {name for split in splits for part in split.values() for name in part}
    return [case for case in cases if case not in used]


def listed(names: Sequence[str], shown: int = 5) -> str:
    """Names for a message: the first ones, and how many there are more."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
