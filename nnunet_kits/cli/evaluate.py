"""The verbs ``evaluate``, ``rank`` and ``compare``: the challenges' numbers."""

import argparse
from pathlib import Path


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``evaluate``, ``rank`` and ``compare``."""
    evaluate = verbs.add_parser(
        "evaluate",
        help="score label maps as the KiTS challenges do",
        description="Dice and surface Dice of each hierarchical evaluation class, equal to the challenge's own code. "
        "Writes evaluation.csv in its format, and metrics.json with volumes and tumour detection.",
    )
    evaluate.add_argument("predictions", type=Path, metavar="PRED", help="folder of case_XXXXX.nii.gz")
    evaluate.add_argument("references", type=Path, metavar="REF", help="a KiTS folder, or a folder of the same names")
    evaluate.add_argument("--year", required=True, choices=("19", "21", "23"), help="labels and tolerances")
    evaluate.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: PRED")
    evaluate.add_argument("-np", type=int, default=1, metavar="N", help="processes (default: 1)")
    evaluate.add_argument("--hd95", action="store_true", help="also the 95th percentile of surface distances; slow")
    evaluate.add_argument("--bootstrap", type=int, default=0, metavar="N", help="resamplings for 95 %% intervals")
    evaluate.add_argument("--partly", action="store_true", help="score what is predicted, though some cases are not")
    evaluate.set_defaults(run=run_evaluate)

    rank = verbs.add_parser(
        "rank",
        help="rank systems as the KiTS23 challenge does",
        description="Rank folders that hold an evaluation.csv: rank, then aggregate; tumor Dice breaks ties.",
    )
    rank.add_argument("systems", type=Path, nargs="+", metavar="DIR", help="one folder a system; its name is used")
    rank.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the challenge's ranking file")
    rank.set_defaults(run=run_rank)

    compare = verbs.add_parser(
        "compare",
        help="compare two systems case by case",
        description="Paired differences of two evaluations: bootstrap interval and Wilcoxon signed-rank test.",
    )
    compare.add_argument("first", type=Path, metavar="DIR", help="folder with an evaluation.csv")
    compare.add_argument("second", type=Path, metavar="DIR", help="another, of the same cases")
    compare.add_argument("--bootstrap", type=int, default=10000, metavar="N", help="resamplings (default: 10000)")
    compare.set_defaults(run=run_compare)


def run_evaluate(options: argparse.Namespace) -> int:
    """Score and print the means."""
    from nnunet_kits.evaluation.evaluate import evaluate_folder
    from nnunet_kits.evaluation.tables import columns

    metrics = evaluate_folder(
        options.predictions,
        options.references,
        options.year,
        options.output,
        options.np,
        options.hd95,
        options.bootstrap,
        options.partly,
        print,
    )
    for column, value in columns(metrics["mean"], options.year).items():
        print(f"{column:15} {value:.4f}")
    for kind, classes in metrics.get("interval_95", {}).items():
        for name, (lower, upper) in classes.items():
            print(f"{kind} {name}: 95 % interval {lower:.4f} to {upper:.4f}")
    for name, found in metrics["tumors"]["sensitivity"].items():
        print(f"tumors {name}: {found['detected']} of {found['tumors']} detected")
    print(f"false tumors a case: {metrics['tumors']['false_positives_per_case']:.2f}")
    print((options.output or options.predictions) / "evaluation.csv")
    return 0


def run_rank(options: argparse.Namespace) -> int:
    """Print the ranking, and write it where asked."""
    from nnunet_kits.evaluation.ranking import rank_systems, write_ranking

    rows = rank_systems(options.systems)
    print(f"{'rank':>4} {'mean rank':>9} {'Dice':>7} {'SD':>7} {'tumor':>7}  system")
    for row in rows:
        print(
            f"{row['final_rank']:4d} {row['mean_rank']:9.2f} {row['mean_dice']:7.4f} {row['mean_sd']:7.4f} "
            f"{row['tumor_dice']:7.4f}  {row['team_name']}"
        )
    if options.output:
        write_ranking(options.output, rows)
    return 0


def run_compare(options: argparse.Namespace) -> int:
    """Print the differences."""
    from nnunet_kits.evaluation.ranking import compare_systems

    print(f"{'score':15} {'first':>7} {'second':>7} {'diff.':>8} {'95 % interval':>19} {'p':>8}")
    for column, found in compare_systems(options.first, options.second, options.bootstrap).items():
        lower, upper = found["interval_95"]
        print(
            f"{column:15} {found['first']:7.4f} {found['second']:7.4f} {found['difference']:+8.4f} "
            f"{lower:+9.4f} {upper:+9.4f} {found['p_wilcoxon']:8.2g}"
        )
    return 0
