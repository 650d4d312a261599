"""What nnU-Net finds in ``nnUNet_extTrainer``: it asks this module for a trainer by name, and gets ours.

nnU-Net imports every module of that folder by its file name and forgets it again. So there is only this one, it
re-exports, and what it hands out lives in ``nnunet_kits.training.trainers``, whose module stays.
"""

import sys
from typing import Any

from nnunet_kits.training.names import is_ours, near_miss


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if not is_ours(name):
        suggestion = near_miss(name)
        if suggestion:
            print(f"nnunet_kits: there is no trainer {name}. Did you mean {suggestion}?", file=sys.stderr)
        raise AttributeError(name)
    from nnunet_kits.training.trainers import trainer_class

    return trainer_class(name)
