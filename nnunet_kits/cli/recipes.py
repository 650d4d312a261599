"""The verb ``recipes``: whole systems as files: which there are, what one says, whether one's own holds."""

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli.output import Result
from nnunet_kits.errors import RecipeError

if TYPE_CHECKING:
    from nnunet_kits.recipes import Recipe

logger = logging.getLogger(__name__)

DESCRIPTION = """
List the shipped recipes; show what one says, with its deviations, its source's scores and its steps; check one of your
own before anything runs. A recipe is a whole system, from the KiTS folder to the report, for nnunet_kits run.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``recipes``."""
    parser = verbs.add_parser("recipes", help="list, show and check whole systems as files", description=DESCRIPTION)
    add = parser.add_argument
    add("what", nargs="?", default="list", choices=("list", "show", "check"), help="default: list")
    add("recipe", nargs="?", metavar="RECIPE", help="of show and check: a shipped recipe, or a .json file")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """List, show or check."""
    from nnunet_kits.recipes import load_recipe, recipe_names

    if options.what == "list":
        return _list({name: load_recipe(name) for name in recipe_names()})
    if options.recipe is None:
        raise RecipeError(f"recipes {options.what} needs a recipe: {', '.join(recipe_names())}; or a .json file.")
    recipe = load_recipe(options.recipe)
    return _show(recipe) if options.what == "show" else _check(recipe, options.recipe)


def _list(recipes: "dict[str, Recipe]") -> Result:
    """A table: release, models that are trained, summary."""
    for name, recipe in recipes.items():
        print(f"{name:30} KiTS{recipe.release}  {_models(recipe):9}  {recipe.summary}")
    about = {
        name: {"release": recipe.release, "models": len(recipe.members), "summary": recipe.summary}
        for name, recipe in recipes.items()
    }
    return Result(about)


def _models(recipe: "Recipe") -> str:
    return f"{len(recipe.members)} model{'s' * (len(recipe.members) > 1)}"


def _check(recipe: "Recipe", given: str) -> Result:
    """Say that it holds: it would not have been loaded otherwise."""
    steps = _steps(recipe)
    logger.info(f"{recipe.name}: holds. {len(steps)} steps, {_models(recipe)}, KiTS{recipe.release}.")
    data = "" if recipe.phantoms else "--data DIR "
    logger.info(f"Next: nnunet_kits run {shlex.quote(given)} {data}--root DIR --dry-run")
    return Result({"name": recipe.name, "steps": len(steps)})


def _show(recipe: "Recipe") -> Result:
    """All that is known of a recipe."""
    from nnunet_kits.recipes.description import described, deviations_of

    steps = _steps(recipe)
    for line in described(recipe):
        print(line)
    print("\nSteps: name, GPUs, CPUs, GB of memory, hours at most, GB of disk")
    for step in steps:
        needs = step.resources
        told = f"{needs.gpus:3} {needs.cpus:3} {needs.memory_gb:5.0f} {needs.hours:5.0f} {needs.disk_gb:5.0f}"
        print(f"  {step.name:80} {told}")
    data = {"recipe": recipe.model_dump(mode="json"), "deviations": deviations_of(recipe), "steps": steps}
    return Result(data)


def _steps(recipe: "Recipe") -> list[Any]:
    from nnunet_kits.recipes import RunSettings, steps_of

    return list(steps_of(recipe, RunSettings(Path("ROOT"), None if recipe.phantoms else Path("DATA"))))
