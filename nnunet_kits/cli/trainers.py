"""The verb ``trainers``: the trainers and the parts of their names."""

import argparse
from typing import Any

from nnunet_kits.cli.output import Result


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``trainers``."""
    trainers = verbs.add_parser(
        "trainers",
        help="list the trainers and the parts their names are made of",
        description="List the trainers and the parts their names are made of; with NAME, take that name apart.",
    )
    trainers.add_argument("name", nargs="?", metavar="NAME", help="a trainer's name to check")
    trainers.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """List them, or take one name apart."""
    from nnunet_kits.architectures import NETWORKS
    from nnunet_kits.augmentation.sets import set_summaries
    from nnunet_kits.losses import LOSSES
    from nnunet_kits.training.names import GRAMMAR, MIXUP, PLANNED, parse_trainer_name
    from nnunet_kits.training.optimisation import OPTIMISATIONS
    from nnunet_kits.training.published import PUBLISHED
    from nnunet_kits.training.sampling import SAMPLINGS

    if options.name:
        parts = parse_trainer_name(options.name)
        fields = ("network", "loss", "sampling", "optimisation", "mixup", "epochs", "previous_trainer")
        one = {field: getattr(parts, field) for field in fields}
        for field, value in one.items():
            print(f"{field:17} {value}")
        if parts.published:
            found = PUBLISHED[parts.published]
            settings = ", ".join(f"{name} {value}" for name, value in found.settings.items())
            print(f"{'settings':17} {settings or 'none'}\n{'plans':17} {found.plans}\n{'source':17} {found.source}")
            one |= {"settings": dict(found.settings), "plans": found.plans, "source": found.source}
        return Result(one)
    registries = {"networks": NETWORKS, "losses": LOSSES, "samplings": SAMPLINGS, "optimisations": OPTIMISATIONS}
    known = {kind: _summaries(registry) for kind, registry in registries.items()}
    known["networks"][PLANNED] = "the one that the plans name"
    print(f"Any composition: {GRAMMAR}\n")
    for kind, summaries in known.items():
        print(f"{kind.capitalize()}:")
        for name, summary in summaries.items():
            print(f"  {name:17} {summary}")
    print(f"{MIXUP}:\n  images of a batch, and their losses, are mixed in pairs")
    augmentations = set_summaries()
    print("Augmentations, by the setting augmentation of the plans:")
    for name, summary in augmentations.items():
        print(f"  {name:18} {summary}")
    print("Published systems, which take the same parts:")
    plans = {name: published.plans for name, published in PUBLISHED.items()}
    for name, its in plans.items():
        print(f"  {name:27} for {its}")
    return Result({"grammar": GRAMMAR, **known, "augmentations": augmentations, "published": plans})


def _summaries(registry: Any) -> dict[str, str]:
    """Name -> summary of every entry."""
    return {name: entry.summary for name, entry in registry.items()}
