"""The verb ``series``: which series a DICOM folder holds, and which of them would be taken."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_kits.cli.output import Result

if TYPE_CHECKING:
    from nnunet_kits.images import Found, Series

logger = logging.getLogger(__name__)

HEADINGS = ("", "no.", "series", "description", "modality", "body part", "slices", "size", "spacing mm", "UID")


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``series``."""
    series = verbs.add_parser(
        "series",
        help="list the series of a DICOM folder, and say which would be predicted",
        description="List every series below a folder, or in some files, with the number to choose it by. A star marks "
        "the one that predict, measure and report take by themselves; of the others it is said why not.",
    )
    series.add_argument(
        "source", type=Path, nargs="+", metavar="DIR", help="a DICOM folder, patients' folders, or files"
    )
    series.add_argument(
        "--resample-tilt", action="store_true", help="as if predict were given it: leaning and uneven stacks are taken"
    )
    series.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """List the series; 2 where there is none."""
    from nnunet_kits.cases.cts import patients
    from nnunet_kits.errors import ImageError
    from nnunet_kits.images import choose_series, find_series

    source: list[Path] = options.source
    if len(source) == 1 and source[0].is_dir():
        cases = patients(source[0])
    else:
        cases = {source[0].resolve().parent.name: find_series(source if len(source) > 1 else source[0])}
    if not any(found.series or found.damaged for found in cases.values()):
        raise ImageError(f"{source[0]}: holds no DICOM image. Name a folder of DICOM files.")
    content: dict[str, Any] = {}
    for case, found in cases.items():
        try:
            taken, why = choose_series(found, None, options.resample_tilt).index, None
        except ImageError as error:
            taken, why = None, str(error)
        content[case] = {
            "taken": taken,
            "why": why,
            "series": [series.as_json() for series in found.series],
            "others": found.others,
            "damaged": {str(path): reason for path, reason in found.damaged.items()},
        }
        _say(case, found, taken)
    return Result({"cases": content})


def _say(case: str, found: "Found", taken: int | None) -> None:
    """The table of one case."""
    from nnunet_kits.images.series import advice

    rows = [_row(series, series.index == taken) for series in found.series]
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows, strict=True)]
    print(f"{case}: {len(found.series)} series, {found.others} other files")
    for row in [HEADINGS, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for series in found.series:
        if series.reason:
            print(f"  {series.index}: {series.reason}")
    for reason in found.damaged.values():
        print(f"  damaged: {reason}")
    if taken is None:
        print(f"  None is taken by itself. {advice(found.series)}")


def _row(series: "Series", taken: bool) -> Sequence[str]:
    columns, rows, slices = series.shape
    spacing = "" if series.spacing_mm is None else " x ".join(f"{edge:.4g}" for edge in series.spacing_mm)
    return (
        "*" if taken else "",
        str(series.index),
        series.number,
        series.description,
        series.modality,
        series.body_part,
        str(slices),
        f"{columns} x {rows}",
        spacing,
        series.uid,
    )
