"""The verb ``run``: a recipe, from the KiTS folder to the report."""

import argparse
import logging
import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_kits.cli.numbers import whole_from_one, whole_from_zero
from nnunet_kits.cli.output import Result

if TYPE_CHECKING:
    from nnunet_kits.recipes import Recipe, RunSettings, Step
    from nnunet_kits.workflow.profile import Profile

logger = logging.getLogger(__name__)

NO_CARD = (
    "No graphics card is seen here, so everything is for the CPU. What it takes of a card: nnunet_kits recipes show "
    "{recipe} --cost. To try the steps: --smoke."
)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``run``."""
    parser = verbs.add_parser(
        "run",
        help="a published system, or one of your own, from the KiTS folder to the report",
        description="Run the steps of a recipe that are left, after all checks that can be made before the first. The "
        "same command goes on after a stop.",
    )
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="a shipped recipe (see nnunet_kits recipes), or a .json file")
    add("--data", type=Path, metavar="DIR", help="the KiTS repository of the recipe's year, or its data folder")
    add("--root", type=Path, required=True, metavar="DIR", help="folder for nnU-Net's three folders and for runs/")
    add("--folds", type=whole_from_zero, nargs="+", metavar="F", help="train and score these (default: the recipe's)")
    add("--until", metavar="STEP", help="a step's name, or a verb as train: only these, and what they need")
    add("--device", choices=("cuda", "cpu", "mps"), help="default: cuda where there is one, else cpu")
    add("--num-gpus", type=whole_from_one, default=1, metavar="N", help="graphics cards of one training (default: 1)")
    add("--smoke", action="store_true", help="the same steps with few cases, tiny networks and few iterations")
    add("--profile", default="local", metavar="NAME", help="where: local, slurm, or a .yaml file (default: local)")
    add("--jobs", type=whole_from_one, metavar="N", help="steps at once (default: one a graphics card, or one)")
    add("--graph", type=Path, metavar="FILE", help="also draw the steps: a picture .svg, .png or .pdf")
    add("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Check everything, then run what is left, or print what would be run."""
    from nnunet_kits.machine import visible_gpus
    from nnunet_kits.recipes import RunSettings, load_recipe
    from nnunet_kits.recipes.run_checks import checked_steps
    from nnunet_kits.workflow.graph import check_picture, draw
    from nnunet_kits.workflow.profile import LOCAL, find_profile

    if options.graph is not None:
        check_picture(options.graph)
    profile = None if options.dry_run else find_profile(options.profile)
    recipe = load_recipe(options.recipe)
    here = options.profile == LOCAL if profile is None else profile.is_local
    settings = RunSettings(
        root=_whole(options.root),
        data=None if options.data is None else _whole(options.data),
        folds=None if options.folds is None else tuple(options.folds),
        device=options.device or ("cuda" if visible_gpus() or not here else "cpu"),
        num_gpus=options.num_gpus,
        until=options.until,
        smoke=options.smoke,
    )
    steps = checked_steps(recipe, settings)
    if options.device is None and settings.device == "cpu" and recipe.phantoms is None and not settings.smoke:
        logger.warning(("# " if options.dry_run else "") + NO_CARD.format(recipe=options.recipe))
    if options.graph is not None:
        draw(steps, options.graph)
    return _print(settings, steps) if profile is None else _run(recipe, settings, steps, profile, options.jobs)


def _print(settings: "RunSettings", steps: "list[Step]") -> Result:
    from nnunet_kits.environment import shell_exports
    from nnunet_kits.recipes import environment_of

    environment = environment_of(settings)
    logger.info(shell_exports(environment, "bash").rstrip())
    for step in steps:
        logger.info(shlex.join(step.command))
    return Result({"environment": environment, "steps": steps})


def _run(
    recipe: "Recipe", settings: "RunSettings", steps: "list[Step]", profile: "Profile", jobs: int | None
) -> Result:
    from nnunet_kits.recipes import environment_of
    from nnunet_kits.workflow.engine import run_steps
    from nnunet_kits.workflow.folder import RunFolder
    from nnunet_kits.workflow.outcome import FAILED_NOW, table

    folder = RunFolder(settings.folder(recipe.name))
    facts = {"recipe": recipe.name, "settings": asdict(settings), "content": recipe.model_dump(mode="json")}
    found = run_steps(folder, facts, environment_of(settings), steps, profile, jobs)
    failed = any(outcome.state == FAILED_NOW for outcome in found)
    for line in table(found):
        logger.log(logging.WARNING if failed else logging.INFO, line)
    if failed:
        logger.warning("The same command goes on.")
    report = folder.path / "report.html"
    shown = report if report.is_file() and not failed else None
    if shown is not None:
        logger.info(f"Report: {shown}")
    return Result({"folder": folder.path, "report": shown, "steps": found}, 2 if failed else 0)


def _whole(folder: Path) -> Path:
    """A folder as every command may name it, wherever it runs."""
    return Path(os.path.abspath(folder.expanduser()))
