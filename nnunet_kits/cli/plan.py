"""The verb ``plan``: the plans of a preset for a converted dataset."""

import argparse
import logging

from nnunet_kits.cli.lines import say_next
from nnunet_kits.cli.numbers import above_zero
from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``plan``."""
    plan = verbs.add_parser(
        "plan",
        help="write the plans of a preset for a converted dataset",
        description="Write the plans of a preset for a converted dataset, by nnU-Net's own planner.",
    )
    plan.add_argument("-d", "--dataset-id", type=int, metavar="ID", help="number of the dataset, for example 220")
    plan.add_argument("--preset", metavar="NAME", help="preset, or a .json file of the same form")
    plan.add_argument(
        "--gpu-memory-gb",
        type=above_zero,
        metavar="G",
        help="let nnU-Net size patch and batch for this memory, at the preset's spacings (default: the preset's own)",
    )
    plan.add_argument("--list", action="store_true", help="list the presets")
    plan.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Write the plans, and say what to type next."""
    from nnunet_kits.errors import PlanError
    from nnunet_kits.planning.presets import load_preset, preset_names, training_commands

    if options.list:
        presets = {name: load_preset(name).summary for name in preset_names()}
        for name, summary in presets.items():
            print(f"{name:24} {summary}")
        return Result(presets)
    if options.dataset_id is None or options.preset is None:
        raise PlanError("give a dataset and a preset: nnunet_kits plan -d 220 --preset KiTSCascadePlans (or --list).")
    preset = load_preset(options.preset)
    if options.gpu_memory_gb is not None and options.gpu_memory_gb <= 0:
        raise PlanError(f"--gpu-memory-gb is {options.gpu_memory_gb}, but must be positive.")
    from nnunet_kits.planning.planner import plan_dataset

    plans_file, stale = plan_dataset(options.dataset_id, preset, options.gpu_memory_gb)
    logger.info(f"Plans written: {plans_file}")
    if stale:
        logger.warning(f"The preprocessed data of {', '.join(stale)} is from other plans: preprocess again.")
    following = [
        f"nnunet_kits preprocess -d {options.dataset_id} -p {preset.name}",
        *training_commands(options.dataset_id, preset.name, preset.configurations, preset.trainers),
    ]
    say_next(following)
    return Result({"plans": plans_file, "stale": stale, "next": following})
