"""The verb ``report``: one HTML file with scores, volumes and pictures of predictions."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_kits.errors import ImageError

if TYPE_CHECKING:
    from nnunet_kits.labels import Label
    from nnunet_kits.reporting.report import ReportCase

ENDING = ".nii.gz"


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``report``."""
    report = verbs.add_parser(
        "report",
        help="write an HTML report: Dice, volumes and overlay pictures of predictions",
        description="Write one self-contained HTML file about a folder of predictions. "
        "Files are named as nnU-Net names them: case_00003_0000.nii.gz is the CT of case_00003.nii.gz.",
    )
    report.add_argument("--images", type=Path, required=True, metavar="DIR", help="CT files (imagesTs)")
    report.add_argument("--predictions", type=Path, required=True, metavar="DIR", help="what nnUNetv2_predict wrote")
    report.add_argument("--references", type=Path, metavar="DIR", help="label maps to score against (labelsTs)")
    report.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the HTML file to write")
    report.add_argument("--title", default="Kidney, tumor and cyst segmentation", help="default: %(default)s")
    report.add_argument(
        "--pictures", type=int, default=40, metavar="N", help="show the N worst cases with pictures (default: 40)"
    )
    report.set_defaults(run=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Score the predictions and write the report."""
    from nnunet_kits.reporting.report import write_report
    from nnunet_kits.reporting.scores import ScoreTable, labels_of

    names = _cases_in(options.predictions)
    labels = labels_of(options.predictions)
    cases = [_case(options, name, labels) for name in names]
    scored = {case.name: case.scores for case in cases if case.scores is not None}
    table = ScoreTable("Dice", tuple(next(iter(scored.values()))), scored) if scored else None
    write_report(
        options.output,
        title=options.title,
        intro=f"{len(cases)} predicted {'case' if len(cases) == 1 else 'cases'}, {len(scored)} with a reference.",
        facts=_facts(options, names, set(scored)),
        scores=table,
        cases=cases,
        pictures=options.pictures,
    )
    if table:
        print("mean Dice: " + ", ".join(f"{region} {mean:.3f}" for region, mean in table.mean().items()))
    print(options.output)
    return 0


def _cases_in(predictions: Path) -> list[str]:
    """Names of the predicted cases."""
    if not predictions.is_dir():
        raise ImageError(f"{predictions}: no such folder. Name the folder that nnUNetv2_predict wrote.")
    names = sorted(file.name.removesuffix(ENDING) for file in predictions.glob(f"*{ENDING}"))
    if not names:
        raise ImageError(f"{predictions}: holds no {ENDING} file. Name the folder that nnUNetv2_predict wrote.")
    return names


def _case(options: argparse.Namespace, name: str, labels: "tuple[Label, ...]") -> "ReportCase":
    """The files of one case, and its scores where there is a reference."""
    from nnunet_kits.images import check_same_grid, read_volume
    from nnunet_kits.reporting.report import ReportCase
    from nnunet_kits.reporting.scores import region_dice

    image, prediction = options.images / f"{name}_0000{ENDING}", options.predictions / f"{name}{ENDING}"
    if not image.is_file():
        raise ImageError(f"{name}: its CT {image} is missing. Name the folder that was predicted from with --images.")
    reference = options.references / f"{name}{ENDING}" if options.references else None
    if reference is None or not reference.is_file():
        return ReportCase(name, image, prediction)
    ours, theirs = read_volume(prediction), read_volume(reference)
    check_same_grid(name, ours, theirs)
    return ReportCase(name, image, prediction, reference, region_dice(ours.array, theirs.array, labels))


def _facts(options: argparse.Namespace, names: list[str], scored: set[str]) -> list[tuple[str, str]]:
    """Folders, and what is missing from them."""
    facts = [("Images", str(options.images)), ("Predictions", str(options.predictions))]
    predicted = set(names)
    images = {file.name.removesuffix(f"_0000{ENDING}") for file in options.images.glob(f"*_0000{ENDING}")}
    if missing := sorted(images - predicted):
        facts.append(("Without prediction", ", ".join(missing)))
    if options.references:
        facts.append(("References", str(options.references)))
        if missing := sorted(predicted - scored):
            facts.append(("Without reference", ", ".join(missing)))
    return facts
