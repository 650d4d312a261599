"""The verbs ``evaluate``, ``rank`` and ``compare``: the challenges' numbers."""

import argparse
from pathlib import Path

EVALUATE = """
Dice and surface Dice of each hierarchical evaluation class, equal to the challenge's own code. Writes evaluation.csv in
its format, and metrics.json with volumes and the detection of tumours. Every file is read whole and checked. Run the
same command again to go on where it stopped.
"""


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``evaluate``, ``rank`` and ``compare``."""
    evaluate = verbs.add_parser("evaluate", help="score label maps as the KiTS challenges do", description=EVALUATE)
    add = evaluate.add_argument
    add("predictions", type=Path, metavar="PRED", help="folder of case_XXXXX.nii.gz, or one label map")
    add("references", type=Path, metavar="REF", help="a KiTS folder, a folder of the same names, or one label map")
    add("--year", required=True, choices=("19", "21", "23"), help="whose labels and tolerances")
    add("-o", "--output", type=Path, metavar="DIR", help="folder for the results (default: PRED)")
    add("-np", type=int, metavar="N", help="processes (default: as many as are worth it)")
    add("--hd95", action="store_true", help="also the 95th percentile of the surface distances; slow")
    add("--bootstrap", type=int, default=0, metavar="N", help="resamplings for 95 %% intervals of the means; 10000")
    add("--partly", action="store_true", help="leave out references without a prediction")
    add("--no-samples", action="store_true", help="KiTS21: not against the sampled segmentations")
    add(
        "--tolerances-mm", type=float, nargs=3, metavar="MM", help="of kidney and masses, masses, tumor, not the year's"
    )
    evaluate.set_defaults(run=run_evaluate)

    rank = verbs.add_parser(
        "rank",
        help="rank systems as the KiTS challenges do",
        description="Rank systems by mean Dice and by mean surface Dice, then by the mean of both ranks; the tumor "
        "Dice breaks ties.",
    )
    rank.add_argument("systems", type=Path, nargs="+", metavar="DIR", help="one folder a system, with evaluation.csv")
    rank.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the challenge's ranking file")
    rank.set_defaults(run=run_rank)

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
    compare.set_defaults(run=run_compare)


def run_evaluate(options: argparse.Namespace) -> int:
    """Score and print the means."""
    from nnunet_kits.evaluation.evaluate import evaluate_folder
    from nnunet_kits.evaluation.tables import average, row_of

    metrics = evaluate_folder(
        options.predictions,
        options.references,
        options.year,
        options.output,
        options.np,
        options.hd95,
        options.bootstrap,
        options.partly,
        not options.no_samples,
        options.tolerances_mm,
        lambda line: print(line, flush=True),
    )
    intervals = metrics.get("interval_95", {})
    for column, value in average([row_of(case) for case in metrics["cases"].values()]).items():
        limits = "  95 % interval {:.4f} to {:.4f}".format(*intervals[column]) if column in intervals else ""
        print(f"{column:15} {value:.4f}{limits}")
    for name, distance in metrics["mean"].get("hd95_mm", {}).items():
        print(f"HD95 {name}: " + ("in no case" if distance is None else f"{distance:.2f} mm"))
    for name, found in metrics["tumors"]["sensitivity"].items():
        print(f"tumors, {name}: {found['detected']} of {found['tumors']} detected")
    print(f"false tumors a case: {metrics['tumors']['false_positives_per_case']:.2f}")
    folder = options.predictions.parent if options.predictions.is_file() else options.predictions
    print((options.output or folder) / "evaluation.csv")
    return 0


def run_rank(options: argparse.Namespace) -> int:
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
    return 0


def run_compare(options: argparse.Namespace) -> int:
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
    return 0
