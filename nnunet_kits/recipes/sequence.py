"""The steps of a recipe, in an order in which they may be typed one after the other."""

from collections.abc import Sequence

from nnunet_kits.errors import RecipeError
from nnunet_kits.recipes.data_steps import convert, derive, preprocess
from nnunet_kits.recipes.line import Line
from nnunet_kits.recipes.recipe import Recipe
from nnunet_kits.recipes.result_steps import finish
from nnunet_kits.recipes.smoke import reduced
from nnunet_kits.recipes.steps import RunSettings, Step
from nnunet_kits.recipes.training_steps import train


def steps_of(recipe: Recipe, run: RunSettings) -> list[Step]:
    """Every step of a run.

    Args:
        recipe: checked before, see :func:`nnunet_kits.recipes.checks.check_recipe`.
        run: where and how; of a smoke run the small files that its steps name are written, see :mod:`.smoke`.

    Raises:
        RecipeError: ``until`` names no step.
    """
    if run.smoke:
        recipe, run = reduced(recipe, run)
    line = Line(recipe, run)
    convert(line)
    for stage in recipe.stages:
        for key in stage.members:
            derive(line, key)
            preprocess(line, key)
        for key in stage.members:
            train(line, key)
    finish(line)
    return line.steps if run.until is None else needed_for(line.steps, run.until)


def needed_for(steps: Sequence[Step], until: str) -> list[Step]:
    """A step, or all of a verb, and those whose results they read.

    Args:
        steps: all, in order.
        until: a step's name, or a verb.

    Raises:
        RecipeError: no step has that name or verb.
    """
    kept = {step.name for step in steps if until in (step.name, step.verb)}
    if not kept:
        verbs = ", ".join(dict.fromkeys(step.verb for step in steps))
        raise RecipeError(f"--until {until}: no such step. Name one of the steps, or a verb: {verbs}.")
    for step in reversed(steps):
        kept |= set(step.after) if step.name in kept else set()
    return [step for step in steps if step.name in kept]
