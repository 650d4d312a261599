"""The verb ``evaluate``: the challenges' scores of label maps."""

import argparse
import logging
from pathlib import Path
from typing import Any

from nnunet_kits.cli.numbers import whole_from_one, whole_from_zero
from nnunet_kits.cli.output import Result
from nnunet_kits.releases import RELEASES

logger = logging.getLogger(__name__)

DESCRIPTION = """
Dice and surface Dice of each hierarchical evaluation class, equal to the challenge's own code. Writes evaluation.csv in
its format, and metrics.json with volumes and the detection of tumours. With --model the validation of a trained model
is scored fold by fold, and tables.csv has what papers print: mean and deviation over folds and over cases. PRED, REF
and --year may then be left out. Every file is read whole and checked. Run the same command again to go on where it
stopped.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``evaluate``."""
    evaluate = verbs.add_parser("evaluate", help="score label maps as the KiTS challenges do", description=DESCRIPTION)
    add = evaluate.add_argument
    predictions = add("predictions", type=Path, metavar="PRED", help="folder of case_XXXXX.nii.gz, or one label map")
    references = add("references", type=Path, metavar="REF", help=HELP["references"])
    year = add("--year", required=True, choices=tuple(RELEASES), help="whose labels and tolerances")
    needed = (predictions, references, year)
    add("--model", type=Path, metavar="MODEL", action=_instead_of(*needed), help=HELP["model"])
    add("--references", type=Path, metavar="REF", help="the same as REF")
    add("-o", "--output", type=Path, metavar="DIR", help="folder for the results (default: PRED, or MODEL/evaluation)")
    add("--tables", action="store_true", help=HELP["tables"])
    add("-np", type=whole_from_one, metavar="N", help="processes (default: as many as are worth it)")
    add("--hd95", action="store_true", help="also the 95th percentile of the surface distances; slow")
    resamplings = "resamplings for 95 %% intervals of the means; 10000"
    add("--bootstrap", type=whole_from_zero, default=0, metavar="N", help=resamplings)
    add("--partly", action="store_true", help="leave out references without a prediction; score folds in part")
    add("--no-samples", action="store_true", help="KiTS21: not against the sampled segmentations")
    add(
        "--tolerances-mm", type=float, nargs=3, metavar="MM", help="of kidney and masses, masses, tumor, not the year's"
    )
    evaluate.set_defaults(run=run)


def _instead_of(*needed: argparse.Action) -> type[argparse.Action]:
    """An option with which some arguments may be left out, that are needed without it."""

    class InsteadOf(argparse.Action):
        def __call__(self, _: Any, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
            setattr(namespace, self.dest, value)
            for action in needed:
                action.required = False

    return InsteadOf


HELP = {
    "references": "a KiTS folder, a folder of the same names, or one label map; with --model default its labelsTr",
    "model": "folder of a trained model: score its folds' validation, or PRED by the folds that did not train on it",
    "tables": "also surface Dice of each label, precision, recall, Dice a slice, in tables.csv; --model always does",
}


def run(options: argparse.Namespace) -> Result:
    """Score and print the means."""
    from nnunet_kits.evaluation.evaluate import evaluate_folder, evaluate_model, results_folder
    from nnunet_kits.evaluation.paper_tables import as_lines
    from nnunet_kits.evaluation.tables import average, row_of

    how = {
        "output": options.output,
        "workers": options.np,
        "hd95": options.hd95,
        "bootstrap": options.bootstrap,
        "partly": options.partly,
        "tolerances_mm": options.tolerances_mm,
    }
    if options.model is not None:
        metrics = evaluate_model(options.model, options.predictions, options.references, options.year, **how)
    else:
        how |= {"samples": not options.no_samples, "tables": options.tables}
        metrics = evaluate_folder(options.predictions, options.references, options.year, **how)
    intervals = metrics.get("interval_95", {})
    for column, value in average([row_of(case) for case in metrics["cases"].values()]).items():
        limits = "  95 % interval {:.4f} to {:.4f}".format(*intervals[column]) if column in intervals else ""
        logger.info(f"{column:15} {value:.4f}{limits}")
    for name, distance in metrics["mean"].get("hd95_mm", {}).items():
        logger.info(f"HD95 {name}: " + ("in no case" if distance is None else f"{distance:.2f} mm"))
    if "tumors" in metrics:
        for name, found in metrics["tumors"]["sensitivity"].items():
            logger.info(f"tumors, {name}: {found['detected']} of {found['tumors']} detected")
        logger.info(f"false tumors a case: {metrics['tumors']['false_positives_per_case']:.2f}")
    for line in as_lines(metrics["tables"]) if "tables" in metrics else ():
        logger.info(line)
    logger.info(results_folder(options.output, options.predictions, options.model) / "evaluation.csv")
    return Result(metrics)
