"""What a recipe names exists and fits together: checked before anything is done, each fault one line with its key."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nnunet_kits.conversion.cases import numbers_of
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.errors import KitsError, RecipeError
from nnunet_kits.planning.presets import load_preset
from nnunet_kits.recipes.names import dataset_json_of, dataset_of, derived_dataset, fold_count
from nnunet_kits.recipes.names import splits_validate_all as all_validated
from nnunet_kits.recipes.prediction_checks import check_prediction
from nnunet_kits.recipes.reading import previous_stage, readings
from nnunet_kits.recipes.recipe import Derive, Member, Recipe
from nnunet_kits.recipes.trainers import check_trainer
from nnunet_kits.releases import RELEASES


def check_recipe(recipe: Recipe, where: str) -> None:
    """Refuse a recipe of which something is not there, or does not fit the rest.

    Args:
        recipe: of the right form.
        where: its file, for messages.

    Raises:
        RecipeError: the file, the key, the value, and what is allowed.
    """
    with _at(f"{where}: conversion"):
        check_conversion(recipe)
    _check_names(recipe, where)
    for number, stage in enumerate(recipe.stages):
        for key, member in stage.members.items():
            place = f"{where}: stages.{number}.members.{key}"
            _check_member(recipe, key, member, place)
    for key in recipe.members:
        _check_readings(recipe, key, f"{where}: stages.{recipe.stage_of(key)}.members.{key}")
    with _at(where):
        check_prediction(recipe)
    read = {found for key in recipe.members for found in readings(recipe, key)}
    for key in recipe.members:
        if key not in {*read, *recipe.predicting, *recipe.evaluation.alone}:
            raise RecipeError(
                f"{where}: stages.{recipe.stage_of(key)}.members.{key}: is trained, but nothing reads it. Name it in "
                "inference.models or evaluation.alone, or leave it out."
            )


def check_conversion(recipe: Recipe) -> Settings:
    """What is to be converted, and how, as far as a recipe says it.

    Raises:
        KitsError: a value that ``convert`` would refuse.
    """
    given, release = recipe.conversion, RELEASES[recipe.release]
    return Settings(
        release=release,
        source=Path(),
        raw=Path(),
        dataset_id=given.dataset_id,
        name=given.name,
        label_mode=given.labels,
        aggregation=given.aggregation,
        folds=given.folds,
        splits=given.splits,
        hold_out=given.hold_out,
        exclude=numbers_of(given.exclude, release),
    )


@contextmanager
def _at(place: str) -> Iterator[None]:
    """What is refused in the block is refused with its place."""
    try:
        yield
    except KitsError as error:
        raise RecipeError(f"{place}: {error}") from error


def _check_names(recipe: Recipe, where: str) -> None:
    """Every stage and member has a name of its own, and every derived dataset a number."""
    for what, names in (("stage", [s.name for s in recipe.stages]), ("member", _keys(recipe))):
        if twice := [name for name in names if names.count(name) > 1]:
            raise RecipeError(f"{where}: stages: two {what}s are called {twice[0]!r}. Give each a name of its own.")
    numbers: dict[int, Derive | None] = {int(dataset_of(recipe)[7:10]): None}
    for key, member in recipe.members.items():
        if member.derive is not None and numbers.setdefault(member.derive.dataset_id, member.derive) != member.derive:
            raise RecipeError(
                f"{where}: stages.{recipe.stage_of(key)}.members.{key}.derive.dataset_id is "
                f"{member.derive.dataset_id}, which is another dataset's of this recipe. Give each its own, 1 to 999."
            )


def _keys(recipe: Recipe) -> list[str]:
    return [key for stage in recipe.stages for key in stage.members]


def _check_member(recipe: Recipe, key: str, member: Member, place: str) -> None:
    """Its preset, configuration, trainer and dataset are there, and its folds are those of the splits."""
    with _at(f"{place}.plans"):
        preset = load_preset(member.plans)
    if member.configuration not in preset.configurations:
        raise RecipeError(
            f"{place}.configuration is {member.configuration!r}, which {preset.name} does not have. "
            f"It has: {', '.join(preset.configurations)}."
        )
    with _at(f"{place}.trainer"):
        check_trainer(member.trainer)
    if member.derive is not None:
        with _at(f"{place}.derive"):
            derived_dataset(recipe, member.derive)
            dataset_json_of(recipe, member)
    count = fold_count(recipe)
    if member.folds is not None and (not member.folds or wrong(member.folds, count)):
        raise RecipeError(
            f"{place}.folds is {list(member.folds)}, but conversion.splits {recipe.conversion.splits} has "
            f"{folds_in_words(count)}. Leave folds out for all."
        )


def _check_readings(recipe: Recipe, key: str, place: str) -> None:
    """What a member reads is of an earlier stage, and whole."""
    member = recipe.members[key]
    masks = member.derive.masks if member.derive is not None else None
    if masks is not None and (masks.by == "reference") != (masks.member is None):
        raise RecipeError(
            f"{place}.derive.masks.member is {masks.member!r}, but a member is named where by is validation or "
            f"prediction, and only there; by is {masks.by!r}."
        )
    if masks is not None and masks.member is not None:
        _check_earlier(recipe, key, masks.member, f"{place}.derive.masks.member is {masks.member!r}")
        if masks.by == "validation":
            _check_whole(recipe, masks.member, f"{place}.derive.masks.by is 'validation'")
    before = previous_stage(member)
    if before is None:
        return
    configuration, trainer = before
    found = [other for other in readings(recipe, key) if recipe.members[other].configuration == configuration]
    if not found:
        raise RecipeError(
            f"{place}.configuration is {member.configuration!r}, which reads {configuration} of the same plans and "
            f"dataset, trained by {trainer}, but no member is that. Add one to an earlier stage, or name another "
            "trainer's: <Trainer>_after_<Trainer>."
        )
    _check_earlier(recipe, key, found[0], f"{place}.configuration is {member.configuration!r}, which reads {found[0]}")
    _check_whole(recipe, found[0], f"{place}.configuration is {member.configuration!r}")


def _check_earlier(recipe: Recipe, key: str, other: str, what: str) -> None:
    """Refuse to read what is not there yet."""
    number = recipe.stage_of(key)
    earlier = [name for stage in recipe.stages[:number] for name in stage.members]
    if other not in earlier:
        why = "of this stage or a later one" if other in recipe.members else "no member"
        raise RecipeError(f"{what}, {why}. Members of earlier stages: {', '.join(earlier) or 'none'}.")


def _check_whole(recipe: Recipe, other: str, what: str) -> None:
    """Refuse to read validations that leave cases out."""
    if not all_validated(recipe):
        raise RecipeError(
            f"{what}, but conversion.splits {recipe.conversion.splits} validates only some cases. Use by_number."
        )
    given, count = recipe.members[other].folds, fold_count(recipe)
    if given is not None and set(given) != set(range(count)):
        raise RecipeError(
            f"{what}, which needs {other} in all of {folds_in_words(count)}, but its folds are {list(given)}."
        )


def wrong(folds: Sequence[int], count: int) -> list[int]:
    """The folds that splits do not have."""
    return [fold for fold in folds if not 0 <= fold < count]


def folds_in_words(count: int) -> str:
    """Which folds there are."""
    return f"folds 0 to {count - 1}" if count > 1 else "fold 0 only"
