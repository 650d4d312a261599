"""The verb ``measure``: volumes, diameters and places of kidneys, tumours and cysts."""

import argparse
import logging
import sys
from pathlib import Path

from nnunet_kits.cli.choosing import add_series_options, choice_of
from nnunet_kits.cli.numbers import from_zero, whole_from_one
from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``measure``."""
    measure = verbs.add_parser(
        "measure",
        help="measure kidneys, tumours and cysts",
        description="Volume, diameters, side and place of each kidney, tumour and cyst in label maps, as a table "
        "(measures.csv) and as measures.json. For research, not for diagnosis.",
    )
    measure.add_argument(
        "labels", type=Path, metavar="SEG", help="a label map, a folder of label maps, or a KiTS folder"
    )
    measure.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder for the results")
    measure.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="CTs on the same grids, for the mean HU: a folder, one file, or DICOM",
    )
    measure.add_argument(
        "--min-volume-ml", type=from_zero, default=0.0, metavar="ML", help="leave out smaller lesions (default: none)"
    )
    measure.add_argument("-np", type=whole_from_one, default=1, metavar="N", help="processes (default: 1)")
    add_series_options(measure)
    measure.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Measure; 2 where a case failed."""
    import json

    from nnunet_kits.measurement.files import FULL, TABLE, measure_files

    _, failed = measure_files(
        options.labels,
        options.output,
        options.images,
        options.min_volume_ml,
        options.np,
        choice_of(options),
    )
    logger.info(options.output / TABLE)
    for case, reason in failed.items():
        print(f"nnunet_kits: error: {case}: {reason}", file=sys.stderr)
    content = json.loads((options.output / FULL).read_text(encoding="utf-8"))
    return Result({"table": options.output / TABLE, "measures": content, "failed": failed}, 2 if failed else 0)
