"""The folders nnU-Net works in, and the folder where it finds our trainers.

nnU-Net is told where everything lies by four environment variables: ``nnUNet_raw``, ``nnUNet_preprocessed``,
``nnUNet_results`` and, for trainers outside its own tree, ``nnUNet_extTrainer``.
"""

import os
from pathlib import Path

from nnunet_kits.errors import EnvironmentVariableError

FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
TRAINER_VARIABLE = "nnUNet_extTrainer"

SHIM_FOLDER = Path(__file__).resolve().parent / "nnunet_ext"
"""What ``nnUNet_extTrainer`` must name: a folder with one module, which hands out our trainers on demand."""


def nnunet_folder(variable: str) -> Path:
    """The folder that one of nnU-Net's environment variables names.

    Raises:
        EnvironmentVariableError: the variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise EnvironmentVariableError(
            f'{variable} is not set. Run: eval "$(nnunet_kits env --root FOLDER)", or set it to an existing folder.'
        )
    return Path(value)


def find_dataset(root: Path, dataset_id: int) -> Path | None:
    """The one ``DatasetNNN_*`` folder with this number below ``root``, or None.

    Raises:
        EnvironmentVariableError: several folders share the number; nnU-Net refuses that too.
    """
    found = sorted(p for p in root.glob(f"Dataset{dataset_id:03d}_*") if p.is_dir())
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise EnvironmentVariableError(
            f"{root}: {names} share the number {dataset_id:03d}, but nnU-Net needs it unique. "
            "Rename or remove all but one."
        )
    return found[0] if found else None
