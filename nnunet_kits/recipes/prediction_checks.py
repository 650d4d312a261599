"""What predicts, what cleans up and what is scored fits the members of a recipe."""

from collections.abc import Mapping

from nnunet_kits.errors import KitsError, RecipeError
from nnunet_kits.inference.label_names import lacking, written
from nnunet_kits.inference.system import load_system
from nnunet_kits.postprocessing.pipeline import load_chain
from nnunet_kits.recipes.names import dataset_json_of, fold_count, holds_out
from nnunet_kits.recipes.recipe import DETERMINE, Recipe

COARSE_TO_FINE = ("fine", "coarse")
"""Keys of ``models`` where no system is named; the second may be left out."""


def check_prediction(recipe: Recipe) -> None:
    """Refuse members that do not fit their places, and cases that are not there.

    Raises:
        KitsError: the key, its value, and what is allowed.
    """
    for key, members in recipe.inference.models.items():
        for member in members:
            _check_known(recipe, member, f"inference.models.{key}")
        if not members:
            raise RecipeError(f"inference.models.{key} is empty. Name one member or more.")
    if recipe.inference.system is None:
        _check_coarse_to_fine(recipe)
    else:
        _check_system(recipe, recipe.inference.system)
    checkpoints = {member.checkpoint for member in recipe.predicting.values()}
    if len(checkpoints) > 1:
        raise RecipeError(
            f"inference.models: its members predict by {' and '.join(sorted(checkpoints))}; predict takes one. "
            "Give all the same checkpoint."
        )
    _check_postprocessing(recipe)
    _check_cases(recipe)


def _check_known(recipe: Recipe, member: str, where: str) -> None:
    if member not in recipe.members:
        raise RecipeError(f"{where}: {member!r} is no member. The members are {', '.join(recipe.members)}.")


def _check_coarse_to_fine(recipe: Recipe) -> None:
    given = recipe.inference.models
    if "fine" not in given or not set(given) <= set(COARSE_TO_FINE) or len(given.get("coarse", ("one",))) > 1:
        raise RecipeError(
            f"inference.models has {', '.join(given)}, but without a system it has fine and, if wanted, coarse with "
            "one member. Or name a system."
        )
    first, *others = given["fine"]
    for other in others:
        if dataset_json_of(recipe, recipe.members[first]) != dataset_json_of(recipe, recipe.members[other]):
            raise RecipeError(
                f"inference.models.fine: {first} and {other} have different labels, so none is their mean."
            )


def _check_system(recipe: Recipe, name: str) -> None:
    """Its keys are the recipe's, and each model knows the labels that its place asks for."""
    try:
        system = load_system(name)
    except KitsError as error:
        raise RecipeError(f"inference.system: {error}") from error
    given: Mapping[str, tuple[str, ...]] = recipe.inference.models
    if missing := [key for key in system.keys if key not in given]:
        raise RecipeError(f"inference.models has no {missing[0]!r}. {system.name} needs {', '.join(system.keys)}.")
    if unknown := [key for key in given if key not in system.keys]:
        raise RecipeError(
            f"inference.models.{unknown[0]}: {system.name} has no such model, but {', '.join(system.keys)}."
        )
    for place in system.members:
        for member in given[place.key]:
            content, where = dataset_json_of(recipe, recipe.members[member]), f"inference.models.{place.key}: {member}"
            if missing := lacking(content, place.labels, dict(system.labels), where):
                raise RecipeError(
                    f"{where}: has the labels {', '.join(written(content))}, but {system.name} needs "
                    f"{', '.join(missing)} there."
                )


def _check_postprocessing(recipe: Recipe) -> None:
    chain = recipe.postprocessing
    if chain == DETERMINE:
        if recipe.evaluation.cases != "folds":
            raise RecipeError(
                "postprocessing is 'determine', which chooses a chain on the cases that folds validate, but "
                f"evaluation.cases is {recipe.evaluation.cases!r}. Name a chain, or score folds."
            )
    elif chain is not None:
        load_chain(chain)


def _check_cases(recipe: Recipe) -> None:
    evaluation, count = recipe.evaluation, fold_count(recipe)
    for alone in evaluation.alone:
        _check_known(recipe, alone, "evaluation.alone")
    if evaluation.cases == "held_out":
        if not holds_out(recipe):
            raise RecipeError(
                f"evaluation.cases is 'held_out', but every case is in a fold: conversion.splits is "
                f"{recipe.conversion.splits}. Give three ranges or shares, or conversion.hold_out."
            )
        if evaluation.folds is not None:
            raise RecipeError(f"evaluation.folds is {list(evaluation.folds)}, but held_out cases are in no fold.")
        return
    for fold in range(count) if evaluation.folds is None else evaluation.folds:
        for key, member in recipe.predicting.items():
            if fold not in (range(count) if member.folds is None else member.folds) or not 0 <= fold < count:
                raise RecipeError(
                    f"evaluation.folds: fold {fold} is not trained by {key}. "
                    "Score folds that every member of inference.models trains."
                )
