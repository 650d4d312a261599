"""The verb ``trainers``: the trainers and the parts of their names."""

import argparse
from collections.abc import Mapping
from typing import Any


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``trainers``."""
    trainers = verbs.add_parser(
        "trainers",
        help="list the trainers and the parts their names are made of",
        description="List the trainers and the parts their names are made of; with NAME, take that name apart.",
    )
    trainers.add_argument("name", nargs="?", metavar="NAME", help="a trainer's name to check")
    trainers.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List them, or take one name apart."""
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
    _print_parts("Networks", NETWORKS)
    print(f"  {PLANNED:17} the one that the plans name")
    _print_parts("Losses", LOSSES)
    _print_parts("Samplings", SAMPLINGS)
    _print_parts("Optimisations", OPTIMISATIONS)
    print(f"{MIXUP}:\n  images of a batch, and their losses, are mixed in pairs")
    print("Published systems, which take the same parts:")
    for name, published in PUBLISHED.items():
        print(f"  {name:27} for {published.plans}")
    return 0


def _print_parts(title: str, registry: Mapping[str, Any]) -> None:
    """A line for every entry of a registry."""
    print(f"{title}:")
    for name, part in registry.items():
        print(f"  {name:17} {part.summary}")
