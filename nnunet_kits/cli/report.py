"""The verb ``report``: one HTML file with scores, sizes and pictures of predictions, or the pictures alone."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_kits.cli.choosing import add_series_options, choice_of
from nnunet_kits.cli.numbers import from_zero, whole_from_one, whole_from_zero
from nnunet_kits.cli.output import Result
from nnunet_kits.errors import KitsError
from nnunet_kits.releases import DEFAULT_YEAR, RELEASES

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from nnunet_kits.reporting.study import Finding, ReportCase

ENDING = ".nii.gz"
NAMED = 12
"""Cases without a file that are named."""

KINDS = {"dice": "Dice", "surface_dice": "surface Dice"}
"""Key of a kind of score -> how it is printed."""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``report``."""
    report = verbs.add_parser(
        "report",
        help="write an HTML report: scores, sizes and overlay pictures of predictions",
        description="Write one self-contained HTML file about a folder of predictions, or about one case. Files are "
        "named as nnU-Net names them: case_00003_0000.nii.gz is the CT of case_00003.nii.gz. KiTS folders do too.",
    )
    add = report.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="CTs (imagesTs), one file, or DICOM")
    add("--predictions", type=Path, required=True, metavar="DIR", help="predicted label maps, or one file")
    add("--references", type=Path, metavar="DIR", help="label maps to score against (labelsTs), or one file")
    add("-o", "--output", type=Path, metavar="FILE", help="the HTML file to write")
    add("--png", type=Path, metavar="DIR", help="write the pictures of every case here, as PNG files")
    add("--year", choices=tuple(RELEASES), help=f"whose tolerances (default: the dataset's, else {DEFAULT_YEAR})")
    add(
        "--model",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder of a model that predicted: its training is shown; may be given again",
    )
    add("--compare", type=Path, metavar="OTHER", help="compare with another system: metrics.json, a model, or a run")
    add("--title", default="Kidney, tumor and cyst segmentation", help="default: %(default)s")
    add(
        "--pictures",
        type=whole_from_zero,
        default=40,
        metavar="N",
        help="show the N worst cases with pictures (default: 40)",
    )
    add(
        "--viewer",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="each of these cases with its slices to scroll through (default: with)",
    )
    add(
        "--viewer-mb",
        type=from_zero,
        metavar="MB",
        help="megabytes of the page for the slices of each case (default: 6, or less that all together have 120)",
    )
    add("-np", type=whole_from_one, default=1, metavar="N", help="processes (default: 1)")
    add_series_options(report)
    report.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Score and measure the predictions and write the report, the pictures or both."""
    from nnunet_kits.evaluation.scored import read_scored
    from nnunet_kits.reporting.report import write_pictures, write_report
    from nnunet_kits.reporting.study import find_cases, year_of
    from nnunet_kits.reporting.trained_model import read_model

    if options.output is None and options.png is None:
        raise KitsError("Nothing to write. Name the HTML file with -o, or a folder for the pictures with --png.")
    if not options.predictions.exists():
        raise KitsError(f"{options.predictions}: no such file or folder. Name what nnUNetv2_predict wrote.")
    if options.compare is not None and (options.references is None or options.output is None):
        raise KitsError(
            "--compare needs the scores of these predictions: name --references, and the HTML file with -o."
        )
    other = None if options.compare is None else read_scored(options.compare)
    beside = options.predictions if options.predictions.is_dir() else options.predictions.parent
    year = options.year or year_of(beside)
    cases = find_cases(options.images, options.predictions, options.references, year, choice_of(options))
    models = [read_model(folder) for folder in options.model]
    if options.png is not None:
        write_pictures(options.png, cases, options.np)
        logger.info(options.png)
    means: dict[str, dict[str, float]] = {}
    if options.output is not None:
        scored = sum(case.reference is not None for case in cases)
        findings = write_report(
            options.output,
            title=options.title,
            intro=f"{len(cases)} predicted {'case' if len(cases) == 1 else 'cases'}, {scored} with a reference.",
            cases=cases,
            year=year,
            facts=_facts(options, cases, year),
            models=models,
            pictures=options.pictures,
            viewer_mb=options.viewer_mb if options.viewer else 0.0,
            workers=options.np,
            other=other,
        )
        means = _means(findings)
        for kind, found in means.items():
            logger.info(f"mean {KINDS[kind]}: " + ", ".join(f"{name} {mean:.3f}" for name, mean in found.items()))
        logger.info(options.output)
    names = [case.name for case in cases]
    return Result({"report": options.output, "pictures": options.png, "cases": names, "mean": means})


def _means(findings: "dict[str, Finding]") -> dict[str, dict[str, float]]:
    """Mean of every score, by kind."""
    scored = [found.scores for found in findings.values() if found.scores is not None]
    return {
        kind: {name: sum(scores[kind][name] for scores in scored) / len(scored) for name in scored[0][kind]}
        for kind in KINDS
        if scored and scored[0][kind]
    }


def _facts(options: argparse.Namespace, cases: "list[ReportCase]", year: str) -> list[tuple[str, str]]:
    """Versions, folders, and what is missing from them."""
    from importlib.metadata import version

    facts = [
        ("Versions", f"nnunet_kits {version('nnunet_kits')}, nnunetv2 {version('nnunetv2')}, torch {version('torch')}"),
        ("Images", str(options.images)),
        ("Predictions", str(options.predictions)),
    ]
    if options.images.is_dir():
        images = {file.name.removesuffix(f"_0000{ENDING}") for file in options.images.glob(f"*_0000{ENDING}")}
        if missing := sorted(images - {case.name for case in cases}):
            facts.append(("Without prediction", _few(missing)))
    if options.references:
        facts.append(("References", f"{options.references}, scored as KiTS{year}"))
        if missing := [case.name for case in cases if case.reference is None]:
            facts.append(("Without reference", _few(missing)))
    return facts


def _few(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names) if len(names) <= NAMED else f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
