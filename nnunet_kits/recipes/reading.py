"""Which member reads the label maps of which others while it is trained."""

from collections.abc import Iterator

from nnunet_kits.planning.presets import Preset, load_preset
from nnunet_kits.recipes.recipe import Member, Recipe
from nnunet_kits.training.names import split_after


def readings(recipe: Recipe, key: str) -> Iterator[str]:
    """The members whose label maps the training of one reads: for its masks, and as the stage before in a cascade."""
    yield from masks_of(recipe, key)
    if (before := previous_of(recipe, recipe.members[key])) is not None:
        yield before


def masks_of(recipe: Recipe, key: str) -> Iterator[str]:
    """The member whose label maps are the masks of another's dataset, where one is."""
    derive = recipe.members[key].derive
    if derive is not None and derive.masks is not None and derive.masks.member is not None:
        yield derive.masks.member


def previous_of(recipe: Recipe, member: Member) -> str | None:
    """The member that is the low-resolution stage of a cascade's second; None where it is none's, or none is there."""
    wanted = previous_stage(member)
    for key, other in recipe.members.items():
        same = (other.plans, other.derive) == (member.plans, member.derive)
        if same and wanted == (other.configuration, other.trainer):
            return key
    return None


def previous_stage(member: Member) -> tuple[str, str] | None:
    """Configuration and trainer of the stage whose label maps a member reads; None where it is no cascade's second."""
    configuration = load_preset(member.plans).configurations[member.configuration].get("previous_stage")
    own, named = split_after(member.trainer)
    return None if configuration is None else (configuration, named or own)


def array_configuration(preset: Preset, configuration: str) -> str:
    """The configuration whose arrays one is trained on: itself, or what it inherits from."""
    while "inherits_from" in preset.configurations[configuration]:
        configuration = preset.configurations[configuration]["inherits_from"]
    return configuration


def read_members(recipe: Recipe) -> set[str]:
    """The members that others read: each of their folds is needed, whichever folds of the others are."""
    return {read for key in recipe.members for read in readings(recipe, key)}
