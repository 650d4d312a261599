"""The verb ``demo``: the whole line on phantoms."""

import argparse
from pathlib import Path

from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``demo``."""
    demo = verbs.add_parser(
        "demo",
        help="run the whole line on phantoms: convert, plan, train a cascade, predict, score, report",
        description="Run the whole line on synthetic CTs with stock nnU-Net commands, which are printed. "
        "Run it again to go on after a stop.",
    )
    demo.add_argument("--out", type=Path, default=Path("nnunet_kits_demo"), metavar="DIR", help="default ./%(default)s")
    demo.add_argument("--quick", action="store_true", help="fewer phantoms and epochs: shows that it runs, not more")
    demo.add_argument("--device", choices=("cuda", "cpu", "mps"), help="default: cuda where there is one, else cpu")
    demo.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Run what is left of it."""
    from nnunet_kits.demo import QUICK, WHOLE, default_device, run_demo

    report = run_demo(options.out, QUICK if options.quick else WHOLE, options.device or default_device())
    return Result({"report": report})
