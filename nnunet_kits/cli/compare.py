"""The verb ``compare``: two systems case by case."""

import argparse
from pathlib import Path

from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``compare``."""
    compare = verbs.add_parser(
        "compare",
        help="compare two systems case by case",
        description="Paired differences of two evaluations of the same cases: bootstrap interval and test, and "
        "Wilcoxon's signed-rank test.",
    )
    compare.add_argument("first", type=Path, metavar="DIR", help="folder with an evaluation.csv")
    compare.add_argument("second", type=Path, metavar="DIR", help="another, of the same cases")
    compare.add_argument("--bootstrap", type=int, default=10000, metavar="N", help="resamplings (default: 10000)")
    compare.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the comparison as JSON")
    compare.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Print the differences, second less first, and write them where asked."""
    import json

    from nnunet_kits.atomic import write_text
    from nnunet_kits.evaluation.compare import compare_systems

    found = compare_systems(options.first, options.second, options.bootstrap)
    print(
        f"{'score':15} {'first':>7} {'second':>7} {'diff.':>8} {'95 % interval':>19} {'p boot.':>8} {'p Wilc.':>8} ",
        end="",
    )
    print("better/equal/worse")
    for column, row in found.items():
        lower, upper = row["interval_95"]
        print(
            f"{column:15} {row['first']:7.4f} {row['second']:7.4f} {row['difference']:+8.4f} "
            f"{lower:+9.4f} {upper:+9.4f} {row['p_bootstrap']:8.2g} {row['p_wilcoxon']:8.2g} "
            f"{row['better']}/{row['equal']}/{row['worse']}"
        )
    if options.output:
        write_text(options.output, json.dumps(found, indent=1))
    return Result(found)
