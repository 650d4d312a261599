"""The verb ``phantom``: synthetic data in any challenge year's layout."""

import argparse
import logging
from pathlib import Path

from nnunet_kits.cli.output import Result
from nnunet_kits.labels import Label
from nnunet_kits.releases import DEFAULT_YEAR, RELEASES

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``phantom``."""
    parser = verbs.add_parser(
        "phantom",
        help="write synthetic CT with kidneys, tumours and cysts, laid out as KiTS ships its data",
        description="Write synthetic abdominal CT with labelled kidneys, tumours and cysts and unlabelled look-alikes, "
        "laid out as a year's challenge ships its data. The same seed gives the same files. Run it again to go on "
        "after an interruption or to add cases.",
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="new or empty folder, or one begun with the same options")
    parser.add_argument(
        "--year", choices=tuple(RELEASES), default=DEFAULT_YEAR, help="challenge to imitate (default: %(default)s)"
    )
    parser.add_argument("--cases", type=int, default=12, metavar="N", help="labelled training cases (default: 12)")
    parser.add_argument("--test-cases", type=int, default=0, metavar="N", help="cases without labels (default: 0)")
    parser.add_argument(
        "--keep-test-labels",
        type=Path,
        metavar="FOLDER",
        help="write the labels of the test cases there, to score predictions with",
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other patients (default: 0)")
    parser.add_argument(
        "--size",
        choices=("tiny", "small", "full"),
        default="small",
        help="tiny: 64 x 64 pixels a slice; small: about 160 x 160; full: 512 x 512 (default: small)",
    )
    parser.add_argument("-np", "--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Write the phantoms and print the next command."""
    from nnunet_kits.phantom import write_tree

    cases = write_tree(
        options.out,
        options.year,
        cases=options.cases,
        test_cases=options.test_cases,
        seed=options.seed,
        size=options.size,
        test_labels=options.keep_test_labels,
        jobs=options.jobs,
    )
    release = RELEASES[options.year]
    if Label.CYST not in release.labels:
        logger.info(f"{release.edition} does not label cysts: those on these kidneys are labelled as kidney.")
    following = f"nnunet_kits convert --year {options.year} {options.out / release.data_folders[0]}"
    logger.info(f"next: {following}")
    return Result({"cases": cases, "next": [following]})
