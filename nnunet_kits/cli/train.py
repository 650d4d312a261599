"""``plan``, ``trainers`` and ``cascade``: from a converted dataset to trained models."""

import argparse


def add_verbs(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs."""
    plan = verbs.add_parser(
        "plan",
        help="write the plans of a preset for a converted dataset",
        description="Write the plans of a preset for a converted dataset, by nnU-Net's own planner.",
    )
    plan.add_argument("-d", "--dataset-id", type=int, metavar="ID", help="number of the dataset, for example 220")
    plan.add_argument("--preset", metavar="NAME", help="preset, or a .json file of the same form")
    plan.add_argument(
        "--gpu-memory-gb",
        type=float,
        metavar="G",
        help="let nnU-Net size patch and batch for this memory, at the preset's spacings (default: the preset's own)",
    )
    plan.add_argument("--list", action="store_true", help="list the presets")
    plan.set_defaults(run=_plan)

    trainers = verbs.add_parser(
        "trainers",
        help="list the trainers and the parts their names are made of",
        description="List the trainers and the parts their names are made of; with NAME, take that name apart.",
    )
    trainers.add_argument("name", nargs="?", metavar="NAME", help="a trainer's name to check")
    trainers.set_defaults(run=_trainers)

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
    cascade.set_defaults(run=_cascade)


def _plan(options: argparse.Namespace) -> int:
    from nnunet_kits.errors import PlanError
    from nnunet_kits.planning.presets import load_preset, preset_names

    if options.list:
        for name in preset_names():
            print(f"{name:24} {load_preset(name).summary}")
        return 0
    if options.dataset_id is None or options.preset is None:
        raise PlanError("give a dataset and a preset: nnunet_kits plan -d 220 --preset KiTSCascadePlans (or --list).")
    preset = load_preset(options.preset)
    if options.gpu_memory_gb is not None and options.gpu_memory_gb <= 0:
        raise PlanError(f"--gpu-memory-gb is {options.gpu_memory_gb}, but must be positive.")
    from nnunet_kits.planning.planner import plan_dataset

    plans_file, stale = plan_dataset(options.dataset_id, preset, options.gpu_memory_gb)
    configurations = [name for name, given in preset.configurations.items() if "inherits_from" not in given]
    print(f"Plans written: {plans_file}")
    if stale:
        print(f"The preprocessed data of {', '.join(stale)} is from other plans: preprocess again.")
    print(f"Next: nnUNetv2_preprocess -d {options.dataset_id} -plans_name {preset.name} -c {' '.join(configurations)}")
    return 0


def _trainers(options: argparse.Namespace) -> int:
    from nnunet_kits.architectures import NETWORKS
    from nnunet_kits.losses import LOSSES
    from nnunet_kits.training.names import GRAMMAR, MIXUP, PLANNED, parse_trainer_name
    from nnunet_kits.training.optimisation import OPTIMISATIONS
    from nnunet_kits.training.published import PUBLISHED
    from nnunet_kits.training.sampling import SAMPLINGS

    if options.name:
        parts = parse_trainer_name(options.name)
        for field in ("network", "loss", "sampling", "optimisation", "mixup", "epochs", "previous_trainer"):
            print(f"{field:17} {getattr(parts, field)}")
        if parts.published:
            found = PUBLISHED[parts.published]
            settings = ", ".join(f"{name} {value}" for name, value in found.settings.items())
            print(f"{'settings':17} {settings or 'none'}\n{'plans':17} {found.plans}\n{'source':17} {found.source}")
        return 0
    print(f"Any composition: {GRAMMAR}\n")
    print(f"Networks:       {', '.join(NETWORKS)}, {PLANNED} (the one that the plans name)")
    print(f"Losses:         {', '.join(LOSSES)}")
    print("Samplings:")
    for name, sampling in SAMPLINGS.items():
        print(f"  {name:17} {sampling.summary}")
    print("Optimisations:")
    for name, optimisation in OPTIMISATIONS.items():
        print(f"  {name:17} {optimisation.summary}")
    print(f"{MIXUP}:\n  images of a batch, and their losses, are mixed in pairs")
    print("Published systems, which take the same parts:")
    for name, published in PUBLISHED.items():
        print(f"  {name:27} for {published.plans}")
    return 0


def _cascade(options: argparse.Namespace) -> int:
    from nnunet_kits.training.drive_cascade import load_cascade, train_cascade

    cascade = load_cascade(options.dataset_id, options.plans, options.trainer, options.previous_trainer, options.device)
    train_cascade(cascade, options.folds, options.dry_run)
    return 0
