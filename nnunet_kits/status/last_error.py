"""The line of a log that says why something failed."""

import re
from collections.abc import Sequence

PREFIX = re.compile(r"^(?:\[rank\d+\]: *|\d{4}-\d\d-\d\d \S+: +)+")
"""What torch's DDP and nnU-Net's log write before a line."""

ERROR = re.compile(
    r"^(?:(?:\w+\.)*\w*(?:Error|Exception|Interrupt|Exit|SystemExit)(?::.*)?"  # the last line of a traceback
    r"|\S+: (?:fatal )?error: .+"  # of a command, and of SLURM
    r"|(?:.*: +)?(?:\d+ +)?(?:Killed|Segmentation fault|Bus error|Terminated)\b.*)$"  # of a shell
)
BURIES = re.compile(r"background worker", re.IGNORECASE)
"""nnU-Net's and batchgenerators' errors that a helper process has died; what it died of stands above."""
LONGEST = 300


def last_error(lines: Sequence[str]) -> str:
    """The last line that tells an error, and of a helper process that died the one that says why; empty without."""
    stripped = (PREFIX.sub("", line.rstrip()) for line in lines)
    errors = [line for line in stripped if ERROR.match(line)]
    telling = [line for line in errors if not BURIES.search(line)] or errors
    return telling[-1][:LONGEST] if telling else ""
