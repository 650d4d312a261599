"""nnU-Net's own check of a raw dataset, in a process of its own: conversion itself needs neither nnunetv2 nor torch."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from nnunet_kits.cases.raw_dataset import Record
from nnunet_kits.conversion.memory import nnunet_reading_workers
from nnunet_kits.errors import ConversionError

PROGRAM = (
    "import sys; from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity; "
    "verify_dataset_integrity(sys.argv[1], int(sys.argv[2]))"
)


def nnunet_workers(records: Mapping[str, Record]) -> int:
    """How many of nnU-Net's processes have room for the largest of the converted cases at once."""
    return nnunet_reading_workers([math.prod(record["shape"]) for record in records.values()])


def verify_with_nnunet(dataset: Path, workers: int) -> None:
    """Run nnU-Net's ``verify_dataset_integrity``; its own lines go to the terminal.

    Raises:
        ConversionError: nnU-Net refuses the dataset.
    """
    environment = {**os.environ, "nnUNet_raw": str(dataset.parent)}
    command = [sys.executable, "-c", PROGRAM, str(dataset), str(workers)]
    sys.stdout.flush()
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise ConversionError(f"{dataset}: nnU-Net's verify_dataset_integrity refuses it; see its lines above.")
