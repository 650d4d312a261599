"""The verb ``rank``: systems ranked as the KiTS challenges do."""

import argparse
from pathlib import Path

from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``rank``."""
    rank = verbs.add_parser(
        "rank",
        help="rank systems as the KiTS challenges do",
        description="Rank systems by mean Dice and by mean surface Dice, then by the mean of both ranks; the tumor "
        "Dice breaks ties.",
    )
    rank.add_argument("systems", type=Path, nargs="+", metavar="DIR", help="one folder a system, with evaluation.csv")
    rank.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the challenge's ranking file")
    rank.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Print the ranking, and write it where asked."""
    from nnunet_kits.evaluation.ranking import rank_systems, write_ranking

    rows = rank_systems(options.systems)
    columns = {"mean_dice": "Dice", "mean_sd": "SD", "tumor_dice": "tumor"}
    shown = {key: title for key, title in columns.items() if key in rows[0]}
    print(f"{'rank':>4} {'mean rank':>9} " + " ".join(f"{title:>7}" for title in shown.values()) + "  system")
    for row in rows:
        numbers = " ".join(f"{row[key]:7.4f}" for key in shown)
        print(f"{row['final_rank']:4d} {row['mean_rank']:9.2f} {numbers}  {row['team_name']}")
    if options.output:
        write_ranking(options.output, rows)
    return Result(rows)
