"""The options that verbs share which read CTs or predict: which series is meant, what runs the networks."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnunet_kits.cases.cts import Choice


def add_series_options(verb: argparse.ArgumentParser) -> None:
    """Add ``--series`` and ``--resample-tilt``."""
    dicom = verb.add_argument_group("where CTs are DICOM")
    dicom.add_argument(
        "--series",
        metavar="UID|NUMBER",
        help="the series to take, as nnunet_kits series lists them (default: the only one that is a plain CT)",
    )
    dicom.add_argument(
        "--resample-tilt",
        action="store_true",
        help="take series whose slices lean (gantry tilt) or lie at uneven distances, and resample them",
    )


def choice_of(options: argparse.Namespace) -> "Choice":
    """What these options ask for."""
    from nnunet_kits.cases.cts import Choice

    return Choice(options.series, options.resample_tilt)


def add_backend_option(verb: argparse.ArgumentParser) -> None:
    """Add ``--backend``."""
    verb.add_argument(
        "--backend",
        choices=("torch", "openvino"),
        default="torch",
        help="what runs the networks; openvino: on a CPU, faster on some (default: %(default)s)",
    )


def between_commas(text: str) -> tuple[str, ...]:
    """The words of ``a,b``, as an argument's type."""
    return tuple(filter(None, text.split(",")))
