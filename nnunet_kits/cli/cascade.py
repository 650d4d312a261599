"""The verb ``cascade``: a cascade trained whole by stock commands."""

import argparse

from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``cascade``."""
    cascade = verbs.add_parser(
        "cascade",
        help="train a cascade whole: low-res folds, their predictions checked, full-res folds",
        description="Train a cascade whole, by stock nnUNetv2_train commands. Run it again to go on after a stop.",
    )
    cascade.add_argument("-d", "--dataset-id", type=int, required=True, metavar="ID", help="number of the dataset")
    cascade.add_argument("-p", "--plans", required=True, metavar="PLANS", help="plans with a 3d_cascade_fullres")
    cascade.add_argument("-tr", "--trainer", default="ResUNetTrainer", metavar="TRAINER", help="default %(default)s")
    cascade.add_argument(
        "--previous-trainer", metavar="TRAINER", help="another trainer for the low-resolution stage (default: the same)"
    )
    cascade.add_argument("--folds", type=int, nargs="+", metavar="F", help="full-resolution folds (default: all)")
    cascade.add_argument("--device", default="cuda", choices=("cuda", "cpu", "mps"), help="default %(default)s")
    cascade.add_argument("--dry-run", action="store_true", help="only print the commands that are left")
    cascade.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Train what is left."""
    from nnunet_kits.training.cascade import load_cascade, train_cascade

    cascade = load_cascade(options.dataset_id, options.plans, options.trainer, options.previous_trainer, options.device)
    commands = train_cascade(cascade, options.folds, options.dry_run)
    return Result({"commands": [" ".join(command) for command in commands], "run": not options.dry_run})
