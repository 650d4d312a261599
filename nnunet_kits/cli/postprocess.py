"""The verb ``postprocess``: clean up predicted label maps."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli.numbers import whole_from_one
from nnunet_kits.cli.output import Result
from nnunet_kits.releases import RELEASES

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from nnunet_kits.postprocessing.pipeline import Chain


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``postprocess``."""
    postprocess = verbs.add_parser(
        "postprocess",
        help="clean up predicted label maps",
        description="Apply a chain of operations (keep the largest kidneys, remove specks, loose masses, holes) to a "
        "folder of label maps; or choose the chain on cross-validation predictions by the challenge's metrics.",
    )
    postprocess.add_argument("predictions", type=Path, nargs="?", metavar="PRED", help="folder of label maps")
    postprocess.add_argument("output", type=Path, nargs="?", metavar="OUT", help="folder for the new label maps")
    postprocess.add_argument("--chain", metavar="NAME", help="a shipped chain, or a .json file")
    postprocess.add_argument("--list", action="store_true", help="list the shipped chains, nothing else")
    postprocess.add_argument("-np", type=whole_from_one, default=1, metavar="N", help="processes (default: 1)")
    postprocess.add_argument("--overwrite", action="store_true", help="postprocess again what is there")
    determine = postprocess.add_argument_group("choosing the chain")
    determine.add_argument(
        "--determine", action="store_true", help="choose the chain; with PRED and OUT it is then applied"
    )
    determine.add_argument(
        "--predictions",
        type=Path,
        nargs="+",
        metavar="DIR",
        dest="folds",
        help="validation folders, one a fold, or the folder of a trained model",
    )
    determine.add_argument(
        "--references", type=Path, metavar="REF", help="a KiTS folder, or a folder of the same names"
    )
    determine.add_argument("--year", choices=tuple(RELEASES), help="labels and tolerances")
    determine.add_argument(
        "--chains", nargs="+", default=[], metavar="NAME", help="candidates (default: all shipped chains)"
    )
    determine.add_argument("--splits", type=Path, metavar="FILE", help="splits_final.json, for one folder of all folds")
    determine.add_argument(
        "--record", type=Path, metavar="DIR", help="folder for chain.json and determined.json (default: OUT)"
    )
    postprocess.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Postprocess, choose a chain, or both; 2 where a case failed."""
    from nnunet_kits.errors import PostprocessingError
    from nnunet_kits.postprocessing.files import postprocess_folder
    from nnunet_kits.postprocessing.pipeline import chain_names, load_chain

    if options.list:
        chains = {name: load_chain(name).summary for name in chain_names()}
        for name, summary in chains.items():
            print(f"{name:18} {summary}")
        return Result(chains)
    apply = options.predictions is not None and options.output is not None
    if options.determine == bool(options.chain):
        raise PostprocessingError("Name a chain with --chain (see --list), or let --determine choose one.")
    if options.chain and not apply:
        raise PostprocessingError("Name the folder of label maps and the folder for the new ones: PRED OUT.")
    if options.determine and options.output is None and (options.predictions or options.record is None):
        raise PostprocessingError("Name PRED and OUT to apply the chosen chain, or with --record where to write it.")
    chain, record = _determined(options) if options.determine else (load_chain(options.chain), None)
    if not apply:
        return Result({"chain": chain.name, "determined": record})
    failed = postprocess_folder(options.predictions, options.output, chain, options.np, options.overwrite)
    for case, reason in failed.items():
        print(f"nnunet_kits: error: {case}: {reason}", file=sys.stderr)
    found = {"chain": chain.name, "determined": record, "output": options.output, "failed": failed}
    return Result(found, 2 if failed else 0)


def _determined(options: argparse.Namespace) -> "tuple[Chain, dict[str, Any]]":
    """The chosen chain, one without steps where none helps, and the record of the choice."""
    from nnunet_kits.errors import PostprocessingError
    from nnunet_kits.postprocessing.determine import CHAIN_FILE, NOTHING, RECORD_FILE, determine_postprocessing

    missing = [f"--{n}" for n, v in (("predictions", options.folds), ("references", options.references)) if not v]
    missing += [] if options.year else ["--year"]
    if missing:
        raise PostprocessingError(f"--determine needs {', '.join(missing)} too.")
    output = options.record or options.output
    chosen, record = determine_postprocessing(
        options.folds,
        options.references,
        options.year,
        output,
        options.chains,
        options.splits,
        options.np,
    )
    _print(record)
    logger.info(f"chosen: {chosen.name if chosen else 'none'}; {output / CHAIN_FILE}, {output / RECORD_FILE}")
    return chosen or NOTHING, record


def _print(record: dict[str, Any]) -> None:
    """The candidates, best first."""
    logger.info(f"{'candidate':18} {'mean':>8} {'gain':>9} {'worst fold':>11}")
    logger.info(f"{'unchanged':18} {record['before']['all']['mean']:8.5f}")
    for name, found in sorted(record["candidates"].items(), key=lambda item: -item[1]["gain"]):
        worst = min(found["gain_by_fold"].values())
        logger.info(f"{name:18} {found['after']['all']['mean']:8.5f} {found['gain']:+9.5f} {worst:+11.5f}")
