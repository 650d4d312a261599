"""The verb ``status``: how far the folds and recipes below a folder are."""

import argparse
import logging
import math
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_kits.cli.output import Result
from nnunet_kits.errors import KitsError

if TYPE_CHECKING:
    from nnunet_kits.status.overview import Overview

logger = logging.getLogger(__name__)

WATCH_S, SHORTEST_WATCH_S = 10.0, 0.1
WIDTH = 120
"""Of what explains the table."""

CLEAR = "\x1b[H\x1b[2J\x1b[3J"
"""Empties a terminal, and what can be scrolled back to."""

DESCRIPTION = """
A table of all folds below a folder, of any nnU-Net trainer: epochs, pseudo Dice, time an epoch, time left, whether a
fold is finished, running, stopped, failed or waiting, the log's last error, and the scores of its validation. Recipes
that nnunet_kits run works on are shown with their steps. Nothing but logs and small JSON files is read.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``status``."""
    status = verbs.add_parser("status", help="show how far trainings and recipes are", description=DESCRIPTION)
    add = status.add_argument
    add("root", type=Path, metavar="ROOT", help="nnUNet_results, a dataset or model in it, or what holds it")
    add(
        "--watch",
        type=_seconds,
        nargs="?",
        const=WATCH_S,
        metavar="SECONDS",
        help=f"show it again every so often, until Ctrl-C (every {WATCH_S:.0f} s unless said otherwise)",
    )
    add("--html", type=Path, metavar="FILE", help="also write a page with the table and the training curves")
    status.set_defaults(run=run)


def _seconds(text: str) -> float:
    """Seconds between two looks."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST_WATCH_S <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from {SHORTEST_WATCH_S:g}")
    return seconds


def run(options: argparse.Namespace) -> Result:
    """Print the table once, or again and again."""
    from nnunet_kits.status.words import as_data, as_lines, explained

    if options.watch is not None and options.json:
        raise KitsError("--watch and --json do not go together: JSON is one document. Leave one of them out.")
    if options.html is not None and not options.html.resolve().parent.is_dir():
        raise KitsError(f"{options.html}: there is no folder {options.html.parent}. Make it, or choose another file.")
    overview = _look(options)
    if options.watch is None:
        print("\n".join(as_lines(overview)))
        logger.info(textwrap.fill(explained(), WIDTH))
        if options.html is not None:
            logger.info(options.html)
    try:
        while options.watch is not None:
            _draw(as_lines(overview), options.watch)
            time.sleep(options.watch)
            overview = _look(options)
    except KeyboardInterrupt:  # how watching ends
        print()
    return Result(as_data(overview))


def _look(options: argparse.Namespace) -> "Overview":
    """Read what is there, and write the page of it where one is asked for."""
    from nnunet_kits.status.overview import read_overview

    overview = read_overview(options.root)
    if options.html is not None:
        from nnunet_kits.reporting.status_page import write_status

        write_status(options.html, overview)
    return overview


def _draw(lines: list[str], seconds: float) -> None:
    """Show the lines: on a terminal in place of the last ones, cut to its size; elsewhere below them."""
    lines = [*lines, f"{time.strftime('%Y-%m-%d %H:%M:%S')}, again every {seconds:g} s; Ctrl-C ends it."]
    if sys.stdout.isatty():
        columns, rows = shutil.get_terminal_size()
        if len(lines) > rows - 1:
            lines = [*lines[: rows - 4], "...", *lines[-2:]]
        lines = [line[: columns - 1] for line in lines]
        print(CLEAR, end="")
    print("\n".join(lines), flush=True)
