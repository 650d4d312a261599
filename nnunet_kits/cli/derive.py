"""The verb ``derive``: a raw dataset made of another one by a rule."""

import argparse
import logging

from nnunet_kits.cli.output import Result

logger = logging.getLogger(__name__)

DESCRIPTION = """
Derive a nnU-Net raw dataset from another one by a rule: labels kept, joined or ignored, scans cropped to a mask with a
margin, multiplied by it, resized. Every case keeps what is needed to put a prediction back on its CT's grid, which
nnunet_kits restore does. Run the same command again to go on where it stopped.
"""


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``derive``."""
    parser = verbs.add_parser(
        "derive", help="make a dataset of another one: labels joined, scans cropped, resized", description=DESCRIPTION
    )
    add = parser.add_argument
    add("-d", "--dataset-id", type=int, metavar="ID", help="number of the dataset to derive from, for example 220")
    add("-o", "--new-id", type=int, metavar="ID", help="number of the new dataset")
    add("--rule", metavar="NAME", help="a shipped rule, or a .json file")
    add("--list", action="store_true", help="list the shipped rules, nothing else")
    add("--name", help="name after DatasetNNN_ (default: the source's name and the rule's)")
    add("--masks", nargs="+", default=[], metavar="PATH", help=MASKS_HELP)
    add("--whole-volume-if-empty", action="store_true", help="take the whole scan of a case whose mask is empty")
    add("--skip-bad", action="store_true", help="leave out bad cases and those without mask, and list them at the end")
    add("--overwrite", action="store_true", help="derive again the cases whose source, mask or rule has changed")
    add("-np", "--workers", type=int, metavar="N", help="processes (default: as CPUs and free memory allow)")
    parser.set_defaults(run=run)


MASKS_HELP = (
    "what to crop to or multiply by: reference for each case's own label map; or folders of label maps, or of a "
    "trained model, of which each case is taken from the fold that validated it"
)


def run(options: argparse.Namespace) -> Result:
    """Derive, say what was made, and what to type next."""
    from nnunet_kits.conversion.verify import nnunet_workers
    from nnunet_kits.derivation.derive import derive
    from nnunet_kits.derivation.rule import load_rule, rule_names
    from nnunet_kits.derivation.settings import Settings
    from nnunet_kits.environment import nnunet_folder
    from nnunet_kits.errors import DerivationError

    if options.list:
        rules = {name: load_rule(name).summary for name in rule_names()}
        for name, summary in rules.items():
            print(f"{name:20} {summary}")
        return Result(rules)
    missing = [
        option
        for option, value in (("-d", options.dataset_id), ("-o", options.new_id), ("--rule", options.rule))
        if value is None
    ]
    if missing:
        raise DerivationError(f"{', '.join(missing)}: name the dataset, the new number and a rule (see --list).")
    rule = load_rule(options.rule)
    made = derive(
        Settings(
            raw=nnunet_folder("nnUNet_raw"),
            source_id=options.dataset_id,
            new_id=options.new_id,
            rule=rule,
            masks=tuple(options.masks),
            name=options.name,
            whole_if_empty=options.whole_volume_if_empty,
            skip_bad=options.skip_bad,
            overwrite=options.overwrite,
            workers=options.workers,
        )
    )
    training, test = made.of_set("training"), made.of_set("test")
    logger.info(
        f"{made.dataset}: {len(training)} training and {len(test)} test cases, "
        f"{made.derived} of them derived now, {len(made.cases) - made.derived} before."
    )
    for note in made.notes:
        logger.warning(f"note: {note}")
    for reason in made.skipped.values():
        logger.warning(f"skipped: {reason}")
    shapes = {name: {"shape": record["grid"]["shape"]} for name, record in made.cases.items()}
    preset = rule.preset or "KiTSCascadePlans"
    following = [
        f"nnUNetv2_extract_fingerprint -d {options.new_id} -np {nnunet_workers(shapes)}",
        f"nnunet_kits plan -d {options.new_id} --preset {preset}",
        f"nnunet_kits preprocess -d {options.new_id} -p {preset}",
    ]
    logger.info("Next:")
    for command in following:
        logger.info(f"  {command}")
    return Result(
        {
            "dataset": made.dataset,
            "training": training,
            "test": test,
            "derived": made.derived,
            "notes": made.notes,
            "skipped": made.skipped,
            "next": following,
        }
    )
