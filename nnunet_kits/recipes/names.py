"""The folders that a recipe's datasets and models get, as convert, derive and nnU-Net name them."""

from pathlib import Path
from typing import Any

from nnunet_kits.cases.splits import Split, held_out
from nnunet_kits.conversion import schemes
from nnunet_kits.conversion.cases import numbers_of
from nnunet_kits.conversion.dataset_json import dataset_json
from nnunet_kits.derivation.label_change import SourceLabels, label_change
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
    """``DatasetNNN_Name`` of a dataset that is derived.

    Raises:
        DerivationError: no such rule, or masks where it needs none, or none where it needs some.
    """
    source = dataset_of(recipe)
    masks = ("reference",) if derive.masks else ()
    settings = Settings(Path(), number_of(source), derive.dataset_id, load_rule(derive.rule), masks, derive.name)
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


def dataset_json_of(recipe: Recipe, member: Member) -> dict[str, Any]:
    """``labels`` and, with regions, ``regions_class_order`` of the dataset that a member is trained on.

    Raises:
        DerivationError: a rule that names a label which the release does not have.
    """
    source, release = dataset_of(recipe), RELEASES[recipe.release]
    content = dataset_json(release, source, recipe.conversion.labels, 0)
    if member.derive is not None:
        change = label_change(load_rule(member.derive.rule), SourceLabels.of(content, source), source)
        content = dict(change.content)
    return {key: content[key] for key in ("labels", "regions_class_order") if key in content}


def fold_count(recipe: Recipe) -> int:
    """How many folds the splits of a recipe's dataset have."""
    given = recipe.conversion
    return given.folds if given.splits == schemes.BY_NUMBER else len(_planned(recipe))


def splits_validate_all(recipe: Recipe) -> bool:
    """Whether every case that is trained is validated by some fold."""
    if recipe.conversion.splits == schemes.BY_NUMBER:
        return True
    trained, validated = ({name for split in _planned(recipe) for name in split[part]} for part in ("train", "val"))
    return trained <= validated


def holds_out(recipe: Recipe) -> bool:
    """Whether some cases of the release are in no fold."""
    given = recipe.conversion
    if given.hold_out is not None:
        return True
    return given.splits != schemes.BY_NUMBER and bool(held_out(_planned(recipe), _cases(recipe)))


def _planned(recipe: Recipe) -> list[Split]:
    """The folds of a whole release."""
    return schemes.scheme(recipe.conversion.splits)(_cases(recipe))


def _cases(recipe: Recipe) -> list[str]:
    release = RELEASES[recipe.release]
    left_out = numbers_of(recipe.conversion.exclude, release)
    return [f"case_{n:05d}" for numbers in release.training for n in numbers if n not in left_out]
