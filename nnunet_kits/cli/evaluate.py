"""The verb ``evaluate``: the challenges' scores of label maps."""

import argparse
import logging
from pathlib import Path

from nnunet_kits.cli.output import Result
from nnunet_kits.releases import RELEASES

logger = logging.getLogger(__name__)

DESCRIPTION = """
Dice and surface Dice of each hierarchical evaluation class, equal to the challenge's own code. Writes evaluation.csv in
its format, and metrics.json with volumes and the detection of tumours. Every file is read whole and checked. Run the
same command again to go on where it stopped.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``evaluate``."""
    evaluate = verbs.add_parser("evaluate", help="score label maps as the KiTS challenges do", description=DESCRIPTION)
    add = evaluate.add_argument
    add("predictions", type=Path, metavar="PRED", help="folder of case_XXXXX.nii.gz, or one label map")
    add("references", type=Path, metavar="REF", help="a KiTS folder, a folder of the same names, or one label map")
    add("--year", required=True, choices=tuple(RELEASES), help="whose labels and tolerances")
    add("-o", "--output", type=Path, metavar="DIR", help="folder for the results (default: PRED)")
    add("-np", type=int, metavar="N", help="processes (default: as many as are worth it)")
    add("--hd95", action="store_true", help="also the 95th percentile of the surface distances; slow")
    add("--bootstrap", type=int, default=0, metavar="N", help="resamplings for 95 %% intervals of the means; 10000")
    add("--partly", action="store_true", help="leave out references without a prediction")
    add("--no-samples", action="store_true", help="KiTS21: not against the sampled segmentations")
    add(
        "--tolerances-mm", type=float, nargs=3, metavar="MM", help="of kidney and masses, masses, tumor, not the year's"
    )
    evaluate.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
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
    )
    intervals = metrics.get("interval_95", {})
    for column, value in average([row_of(case) for case in metrics["cases"].values()]).items():
        limits = "  95 % interval {:.4f} to {:.4f}".format(*intervals[column]) if column in intervals else ""
        logger.info(f"{column:15} {value:.4f}{limits}")
    for name, distance in metrics["mean"].get("hd95_mm", {}).items():
        logger.info(f"HD95 {name}: " + ("in no case" if distance is None else f"{distance:.2f} mm"))
    for name, found in metrics["tumors"]["sensitivity"].items():
        logger.info(f"tumors, {name}: {found['detected']} of {found['tumors']} detected")
    logger.info(f"false tumors a case: {metrics['tumors']['false_positives_per_case']:.2f}")
    folder = options.predictions.parent if options.predictions.is_file() else options.predictions
    logger.info((options.output or folder) / "evaluation.csv")
    return Result(metrics)
