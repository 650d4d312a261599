"""How the command line shows what the package logs: plain lines, as ``print`` would write them."""

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from nnunet_kits.cli.output import printing

PACKAGE = "nnunet_kits"
logger = logging.getLogger(__name__)


class Lines(logging.Handler):
    """Lines for the user go to standard output; how far a run has come, and debugging, to standard error."""

    def __init__(self, notes_to_stderr: bool = False) -> None:
        super().__init__()
        self.notes_to_stderr = notes_to_stderr
        self.timed = logging.Formatter("%(asctime)s %(name)s: %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a progress bar on the terminal stays below it."""
        debugging = record.levelno < logging.INFO
        text = self.timed.format(record) if debugging else record.getMessage()
        aside = debugging or self.notes_to_stderr or getattr(record, "progress", False)
        stream = sys.stderr if aside else sys.stdout
        if "tqdm" in sys.modules and sys.stderr.isatty():
            sys.modules["tqdm"].tqdm.write(text, file=stream)
        else:
            with printing() if stream is sys.stdout else nullcontext():
                print(text, file=stream, flush=True)


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add ``-v`` and ``--quiet``."""
    how_much = verb.add_mutually_exclusive_group()
    how_much.add_argument("-v", "--verbose", action="store_true", help="say more, on standard error: seconds by case")
    how_much.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")


@contextmanager
def shown(options: argparse.Namespace) -> Iterator[None]:
    """Show what the package logs while a verb runs; on standard error where standard output is for JSON."""
    logger, handler = logging.getLogger(PACKAGE), Lines(getattr(options, "json", False))
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel("DEBUG" if options.verbose else "WARNING" if options.quiet else "INFO")
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


def say_next(commands: Sequence[str], remarks: Sequence[str] = ()) -> None:
    """Say what to type next: one command in the same line, several in lines of their own, each with its remark."""
    if len(commands) == 1:
        logger.info(f"Next: {commands[0]}")
        return
    logger.info("Next:")
    for number, command in enumerate(commands):
        logger.info(f"  {command}{remarks[number] if number < len(remarks) else ''}")
