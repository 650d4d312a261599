"""The verb ``preprocess``: the arrays that nnUNetv2_preprocess would write, many times faster."""

import argparse
import json
import logging

from nnunet_kits.cli.lines import say_next
from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)

DESCRIPTION = """
Preprocess a planned dataset: the same arrays, label maps and class locations as nnUNetv2_preprocess, in the same files,
with less time and memory. Run the same command again to go on where it stopped; what is done and unchanged is kept.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``preprocess``."""
    parser = verbs.add_parser("preprocess", help="preprocess a planned dataset, fast", description=DESCRIPTION)
    add = parser.add_argument
    add("-d", "--dataset-id", type=int, required=True, metavar="ID", help="number of the dataset, for example 220")
    add("-p", "--plans", required=True, metavar="PLANS", help="name of its plans, for example KiTSCascadePlans")
    add("-c", "--configurations", nargs="+", metavar="CONFIG", help="for example 3d_lowres 3d_fullres (default: all)")
    add("-np", "--workers", type=int, metavar="N", help="processes (default: as CPUs and free memory allow)")
    add("--codec", default="lz4hc", choices=("lz4hc", "lz4"), help=CODEC_HELP)
    parser.set_defaults(run=run)


CODEC_HELP = "lz4hc as nnU-Net (default), or lz4: faster to write, larger files; training reads both"


def run(options: argparse.Namespace) -> Result:
    """Preprocess, say what was made, and what to type next."""
    from nnunet_kits.errors import PreprocessingError

    if options.workers is not None and options.workers < 1:
        raise PreprocessingError(f"-np is {options.workers}, but must be at least 1.")
    from nnunet_kits.environment import nnunet_folder
    from nnunet_kits.planning.presets import training_commands
    from nnunet_kits.preprocessing.dataset import preprocess_dataset

    outcomes = preprocess_dataset(
        options.dataset_id, options.plans, options.configurations, options.workers, options.codec
    )
    for outcome in outcomes:
        by = f" by {outcome.workers} worker{'s' * (outcome.workers > 1)}" if outcome.workers else ""
        logger.info(
            f"{outcome.configuration}: {outcome.made} cases preprocessed{by}, {outcome.kept} kept, {outcome.folder}"
        )
    plans = next(nnunet_folder("nnUNet_preprocessed").glob(f"Dataset{options.dataset_id:03d}_*/{options.plans}.json"))
    planned = json.loads(plans.read_text(encoding="utf-8"))["configurations"]
    ready = {name: planned[name] for name in options.configurations or planned}
    following = training_commands(options.dataset_id, options.plans, ready)
    say_next(following)
    return Result({"configurations": outcomes, "next": following})
