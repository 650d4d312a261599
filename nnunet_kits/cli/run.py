"""The verb ``run``: a recipe, from the KiTS folder to the report."""

import argparse
import logging
import os
import shlex
from pathlib import Path

from nnunet_kits.cli.numbers import whole_from_one, whole_from_zero
from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``run``."""
    parser = verbs.add_parser(
        "run",
        help="a published system, or one of your own, from the KiTS folder to the report",
        description="Print the commands of a recipe in order, after all checks that can be made before the first.",
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
    add("--dry-run", action="store_true", required=True, help="print the commands, run nothing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Check everything, then print what would be run."""
    from nnunet_kits.demo import default_device
    from nnunet_kits.environment import shell_exports
    from nnunet_kits.recipes import RunSettings, environment_of, load_recipe
    from nnunet_kits.recipes.run_checks import checked_steps

    recipe = load_recipe(options.recipe)
    settings = RunSettings(
        root=_whole(options.root),
        data=None if options.data is None else _whole(options.data),
        folds=None if options.folds is None else tuple(options.folds),
        device=options.device or default_device(),
        num_gpus=options.num_gpus,
        until=options.until,
        smoke=options.smoke,
    )
    steps = checked_steps(recipe, settings)
    environment = environment_of(settings)
    logger.info(shell_exports(environment, "bash").rstrip())
    for step in steps:
        logger.info(shlex.join(step.command))
    return Result({"environment": environment, "steps": steps})


def _whole(folder: Path) -> Path:
    """A folder as every command may name it, wherever it runs."""
    return Path(os.path.abspath(folder.expanduser()))
