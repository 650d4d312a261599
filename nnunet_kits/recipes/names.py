"""The folders that a recipe's datasets and models get, as convert, derive and nnU-Net name them."""

import json
from pathlib import Path

from nnunet_kits.conversion import schemes
from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.derivation.settings import Settings
from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.recipes.recipe import Derive, Member, Recipe
from nnunet_kits.recipes.steps import RunSettings
from nnunet_kits.releases import RELEASES


def dataset_of(recipe: Recipe) -> str:
    """``DatasetNNN_Name`` of what the KiTS folder is converted to."""
    release, given = RELEASES[recipe.release], recipe.conversion
    return f"Dataset{given.dataset_id or release.dataset_id:03d}_{given.name or release.dataset_name}"


def number_of(dataset: str) -> int:
    """nnU-Net's number of a dataset."""
    return int(dataset.removeprefix("Dataset")[:3])


def derived_dataset(recipe: Recipe, derive: Derive) -> str:
    """``DatasetNNN_Name`` of a dataset that is derived."""
    source = dataset_of(recipe)
    masks = ("reference",) if derive.masks else ()
    settings = Settings(Path(), number_of(source), derive.dataset_id, load_rule(derive.rule), masks)
    return settings.dataset(Path(source)).name


def dataset_of_member(recipe: Recipe, member: Member) -> str:
    """``DatasetNNN_Name`` of what a member is trained on."""
    return derived_dataset(recipe, member.derive) if member.derive else dataset_of(recipe)


def plans_of(member: Member) -> str:
    """Name of the plans: the preset's file without ``.json``."""
    return Path(member.plans).name.removesuffix(".json")


def model_of(recipe: Recipe, member: Member, run: RunSettings) -> ModelFolder:
    """Where nnU-Net keeps a member."""
    dataset = run.results / dataset_of_member(recipe, member)
    return ModelFolder(dataset, member.trainer, plans_of(member), member.configuration)


def fold_count(recipe: Recipe) -> int:
    """How many folds the splits of a recipe's dataset have."""
    given = recipe.conversion
    if given.splits == schemes.BY_NUMBER:
        return given.folds
    if schemes.is_file(given.splits):
        return len(json.loads(Path(given.splits).read_text(encoding="utf-8")))
    return len(schemes.scheme(given.splits)([f"case_{number:05d}" for number in range(10)]))
