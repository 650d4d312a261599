"""The verb ``dicom``: label maps of DICOM series as DICOM segmentations and structured reports."""

import argparse
import logging
import sys
from pathlib import Path

from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``dicom``."""
    dicom = verbs.add_parser(
        "dicom",
        help="write label maps of DICOM series as DICOM-SEG, structured reports and RT-STRUCT",
        description="Write the label map that was predicted of a DICOM series as a DICOM segmentation, and its "
        "measures as a structured report (TID 1500); with --rtstruct its outlines, too. All refer to the series. For "
        "research, not for diagnosis.",
    )
    dicom.add_argument("labels", type=Path, metavar="LABELS", help="a label map, or a folder of them")
    dicom.add_argument(
        "source", type=Path, metavar="DIR", help="the DICOM folder that they were predicted of, or patients' folders"
    )
    dicom.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    dicom.add_argument(
        "--segments",
        choices=("lesion", "structure"),
        default="lesion",
        help="one segment for each lesion, or one for all of a kind and side (default: %(default)s)",
    )
    dicom.add_argument("--rtstruct", action="store_true", help="also write the outlines as an RT structure set")
    dicom.add_argument("--model", default="", metavar="NAME", help="name of the model, for the files to state")
    dicom.add_argument(
        "--masses",
        action="store_true",
        help="label 2 is any mass, cysts too, as some models have it (default: as dataset.json beside LABELS says)",
    )
    dicom.add_argument(
        "--series",
        metavar="UID|NUMBER",
        help="the series to refer to, as nnunet_kits series lists them (default: the only one that is a plain CT)",
    )
    dicom.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Write; 2 where a case failed."""
    from nnunet_kits.cases.cts import Choice
    from nnunet_kits.dicom_output import Author, write_files

    author = Author(options.model, options.masses)
    written, failed = write_files(
        options.labels,
        options.source,
        options.output,
        author,
        options.segments,
        Choice(options.series),
        options.rtstruct,
    )
    for case, reason in failed.items():
        print(f"nnunet_kits: error: {case}: {reason}", file=sys.stderr)
    return Result({"written": written, "failed": failed}, 2 if failed else 0)
