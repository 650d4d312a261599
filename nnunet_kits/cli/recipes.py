"""The verb ``recipes``: whole systems as files: which there are, what one says, whether one's own holds."""

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli.numbers import from_zero
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
    cost = parser.add_argument_group("show --cost")
    cost.add_argument("--cost", action="store_true", help="of show: GPU hours, GPU memory, disk, reckoned from plans")
    cost.add_argument("--tflops", type=from_zero, metavar="T", help="10^12 operations a second (default: an A100's 55)")
    cost.add_argument(
        *("--seconds-per-iteration",),
        nargs="+",
        default=[],
        metavar="[MEMBER=]S",
        help="measured: of one training iteration, of every member or of one",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """List, show or check."""
    from nnunet_kits.recipes import load_recipe, recipe_names

    if options.cost and options.what != "show":
        raise RecipeError("--cost goes with show: nnunet_kits recipes show RECIPE --cost.")
    if options.what == "list":
        return _list({name: load_recipe(name) for name in recipe_names()})
    if options.recipe is None:
        raise RecipeError(f"recipes {options.what} needs a recipe: {', '.join(recipe_names())}; or a .json file.")
    recipe = load_recipe(options.recipe)
    if options.cost:
        return _cost(recipe, options)
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


def _cost(recipe: "Recipe", options: argparse.Namespace) -> Result:
    """What it costs, what that was reckoned from, and how well the reckoning meets what others have measured."""
    from nnunet_kits.costs.reckon import TFLOPS, Assumptions
    from nnunet_kits.costs.table import beside_known, bill_of, lines_of

    rate = TFLOPS if options.tflops is None else options.tflops
    if not rate:
        raise RecipeError("--tflops 0: a GPU that does nothing never ends. Give its rate, 55 for an A100.")
    assumptions = Assumptions(rate, dict(_time(word) for word in options.seconds_per_iteration))
    bill = bill_of(recipe, assumptions)
    for line in lines_of(bill, beside_known(assumptions)):
        print(line)
    return Result(bill)


def _time(word: str) -> tuple[str, float]:
    """Member, or nothing for all, and seconds."""
    key, _, seconds = word.rpartition("=")
    try:
        found = float(seconds)
    except ValueError:
        found = 0
    if not 0 < found < float("inf"):
        raise RecipeError(f"--seconds-per-iteration {word}: is not S or MEMBER=S with a positive number of seconds.")
    return key, found


def _steps(recipe: "Recipe") -> list[Any]:
    from nnunet_kits.recipes import RunSettings, steps_of

    return list(steps_of(recipe, RunSettings(Path("ROOT"), None if recipe.phantoms else Path("DATA"))))
