"""The verb ``convert``: a KiTS folder into nnU-Net's raw format."""

import argparse
import logging

from nnunet_kits.cli.lines import say_next
from nnunet_kits.cli.output import Result
from nnunet_kits.releases import RELEASES, either

logger = logging.getLogger(__name__)

DESCRIPTION = """
Convert a KiTS folder into $nnUNet_raw/DatasetNNN_KiTSYYYY. Every file is read whole and checked; a bad one stops the
conversion with a line that names it. Run the same command again to go on where it stopped.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``convert``."""
    parser = verbs.add_parser("convert", help="a KiTS folder into nnU-Net's raw format", description=DESCRIPTION)
    aggregations = tuple(dict.fromkeys(name for release in RELEASES.values() for name in release.aggregations))
    add = parser.add_argument
    add("source", metavar="FOLDER", help="the challenge's repository, or its data folder")
    add("--year", required=True, choices=tuple(RELEASES), help="which KiTS it is")
    add("-d", "--dataset-id", type=int, metavar="N", help=f"number of the dataset (default: {by_year('dataset_id')})")
    add("--name", help=f"name after DatasetNNN_ (default: {by_year('dataset_name')})")
    add("--labels", default="classes", choices=("classes", "regions"), help=HELP["labels"])
    add("--aggregation", choices=aggregations, help=HELP["aggregation"])
    add("--mode", default="compact", choices=("compact", "copy", "hardlink", "symlink"), help=HELP["mode"])
    add("--folds", type=int, default=5, metavar="N", help="folds in splits_final.json (default: 5)")
    add("--splits", default="by_number", metavar="SCHEME", help=HELP["splits"])
    add("--hold-out", metavar="SHARE", help=HELP["hold_out"])
    add("--exclude", nargs="+", default=[], metavar="CASE", help=HELP["exclude"])
    add("--skip-bad", action="store_true", help="go on after a bad case and list all of them at the end")
    add("--verify", action="store_true", help="run nnU-Net's own verify_dataset_integrity at the end")
    add("-np", "--workers", type=int, metavar="N", help="processes (default: as CPUs and free memory allow)")
    parser.set_defaults(run=run)


def by_year(fact: str) -> str:
    """A fact of every year, as a choice."""
    return either([str(getattr(release, fact)) for release in RELEASES.values()])


PRESETS = {
    "kfold_seed42": "KiTSZhangPlans",
    "0-239/240-269/270-299": "KiTSBeheshtifard2DPlans",
    "0.8/0.1/0.1": "KiTSChenJin2DPlans",
}
"""Splits of a paper -> the preset of its system."""

HELP = {
    "labels": "classes: kidney, tumor, cyst; regions: the challenge's kidney_and_mass, mass, tumor (default: classes)",
    "aggregation": "KiTS21 only: which joint label map of its annotators (default: MAJ, the majority)",
    "mode": "how images are stored; compact (the default) makes them int16 where that is lossless, else copies them",
    "splits": "how cases are split: by_number (the default), kfold_seed42 (Zhang), 0-239/240-269/270-299 "
    "(Beheshtifard), 0.8/0.1/0.1 (Chen and Jin's shares; :SEED for another draw), or a splits_final.json",
    "hold_out": "share of the cases that no fold gets, as 0.1, or a .json file with a list of them",
    "exclude": "cases to leave out: 68, case_00068, or known-bad for all that the year is known for",
}


def run(options: argparse.Namespace) -> Result:
    """Convert, say what was made, and what to type next."""
    import os
    from pathlib import Path

    from nnunet_kits.conversion.cases import numbers_of
    from nnunet_kits.conversion.convert import convert, stale_splits
    from nnunet_kits.conversion.settings import Settings
    from nnunet_kits.conversion.verify import nnunet_workers, verify_with_nnunet
    from nnunet_kits.environment import nnunet_folder
    from nnunet_kits.releases import release_of

    release = release_of(options.year)
    settings = Settings(
        release=release,
        source=Path(options.source).expanduser(),
        raw=nnunet_folder("nnUNet_raw"),
        dataset_id=options.dataset_id,
        name=options.name,
        label_mode=options.labels,
        aggregation=options.aggregation,
        mode=options.mode,
        folds=options.folds,
        splits=options.splits,
        hold_out=options.hold_out,
        exclude=numbers_of(options.exclude, release),
        skip_bad=options.skip_bad,
        workers=options.workers,
    )
    made = convert(settings)
    logger.info(
        f"{made.dataset}: {len(made.training)} training and {len(made.test)} test cases, "
        f"{made.converted} of them converted now, {len(made.cases) - made.converted} before."
    )
    for note in made.notes:
        logger.warning(f"note: {note}")
    preprocessed = os.environ.get("nnUNet_preprocessed")
    stale = stale_splits(made.dataset, Path(preprocessed)) if preprocessed else None
    if stale is not None:
        logger.warning(
            f"note: {stale} has other folds, and nnU-Net's planners stop at that. Delete it and preprocess again."
        )
    for reason in made.skipped.values():
        logger.warning(f"skipped: {reason}")
    workers = nnunet_workers(made.cases)
    if options.verify:
        verify_with_nnunet(made.dataset, options.workers or workers)
    preset = PRESETS.get(options.splits, "KiTSCascadePlans")
    following = [
        f"nnUNetv2_extract_fingerprint -d {settings.number} -np {workers}",
        f"nnunet_kits plan -d {settings.number} --preset {preset}",
        f"nnunet_kits preprocess -d {settings.number} -p {preset}",
    ]
    say_next(following, ("", "   # others: nnunet_kits plan --list"))
    return Result(
        {
            "dataset": made.dataset,
            "training": made.training,
            "test": made.test,
            "converted": made.converted,
            "notes": made.notes,
            "stale_splits": stale,
            "skipped": made.skipped,
            "next": following,
        }
    )
