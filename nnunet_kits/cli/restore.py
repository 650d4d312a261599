"""The verb ``restore``: label maps of a derived dataset back on the CTs' grid."""

import argparse
import logging
import sys
from pathlib import Path

from nnunet_kits.cli.numbers import whole_from_one
from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)

DESCRIPTION = """
Put label maps that were predicted for a derived dataset back on the grid, and with the labels, of the dataset that it
was derived from.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``restore``."""
    parser = verbs.add_parser(
        "restore", help="put label maps of a derived dataset back on the CTs' grid", description=DESCRIPTION
    )
    add = parser.add_argument
    add("predictions", type=Path, metavar="PRED", help="folder of label maps, or of a trained model: its validation")
    add("output", type=Path, metavar="OUT", help="folder for the label maps on the CTs' grid")
    add("-d", "--dataset-id", type=int, required=True, metavar="ID", help="number of the derived dataset")
    add("-np", type=whole_from_one, default=1, metavar="N", help="processes (default: 1)")
    add("--overwrite", action="store_true", help="put back again what is there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Put label maps back; 2 where a case failed."""
    from nnunet_kits.derivation.restore import restore_folder
    from nnunet_kits.environment import find_dataset, nnunet_folder
    from nnunet_kits.errors import DerivationError

    raw = nnunet_folder("nnUNet_raw")
    dataset = find_dataset(raw, options.dataset_id)
    if dataset is None:
        raise DerivationError(f"{raw}: no Dataset{options.dataset_id:03d}_* here. Name the derived dataset with -d.")
    restored, failed = restore_folder(options.predictions, options.output, dataset, options.np, options.overwrite)
    logger.info(f"{options.output}: {len(restored)} label maps on the grid of their CTs")
    for reason in failed.values():
        print(f"nnunet_kits: error: {reason}", file=sys.stderr)
    return Result({"output": options.output, "restored": restored, "failed": failed}, 2 if failed else 0)
