"""What is left of a fold's training, seen from the files in its folder: nothing of torch or nnU-Net is imported."""

import json
from pathlib import Path

from nnunet_kits.model_folder import BEST, FINAL, LATEST
from nnunet_kits.training.checkpoints import is_readable

FLAGS: dict[str, tuple[str, ...]] = {"trained": ("--val",), "begun": ("--c",), "new": ()}
"""State of a fold that is not finished -> what its training command is given."""


def fold_state(fold: Path) -> str:
    """How far a fold's training has come.

    Args:
        fold: its folder; it need not exist.

    Returns:
        ``trained`` with a readable final checkpoint, ``begun`` with any other, damaged ones too, ``new`` with none.
    """
    if is_readable(fold / FINAL):
        return "trained"
    begun = any((fold / name).is_file() for name in (FINAL, LATEST, BEST))
    return "begun" if begun else "new"


def is_validated(fold: Path) -> bool:
    """Whether nnU-Net's final validation is complete: it ends by writing a summary, which must be whole."""
    try:
        json.loads((fold / "validation" / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def flags_left(fold: Path, validated: bool | None = None) -> tuple[str, ...] | None:
    """What a fold's training command is given to do what is left.

    Args:
        fold: its folder; it need not exist.
        validated: whether all is there that validation writes; None asks for its summary.

    Returns:
        ``--c`` to go on, ``--val`` to validate only, nothing for the whole training; None where nothing is left.
    """
    state = fold_state(fold)
    done = is_validated(fold) if validated is None else validated
    return None if state == "trained" and done else FLAGS[state]
