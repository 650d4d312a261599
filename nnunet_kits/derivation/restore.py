"""Label maps of a derived dataset put back on the grid of the CTs that it was derived from."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits import __version__
from nnunet_kits.cases.parallel import run_cases, with_progress
from nnunet_kits.cases.records import open_record, stamp
from nnunet_kits.derivation.label_change import relabelled
from nnunet_kits.derivation.masks import label_maps_of
from nnunet_kits.derivation.record import DerivedCase, derived_cases, labels_back
from nnunet_kits.errors import DerivationError, KitsError
from nnunet_kits.images import read_grid, read_integers, write_volume

logger = logging.getLogger(__name__)

RECORD = "restore.json"


@dataclass(frozen=True, eq=False)
class Task:
    """A label map to put back.

    Attributes:
        case: whose it is.
        path: the label map, on the derived grid.
        derived: how that lies in the source.
        values: (256,) uint8, value in the derived dataset -> value in the source.
        target: the file to write.
    """

    case: str
    path: Path
    derived: DerivedCase
    values: NDArray[np.uint8]
    target: Path


def restore_folder(
    label_maps: Path, output: Path, dataset: Path, workers: int = 1, overwrite: bool = False
) -> tuple[list[str], dict[str, str]]:
    """Put every label map of a folder back on the grid of its CT, with the source's values.

    A value that joins several of the source becomes the first of them. ``restore.json`` there says what was done.

    Args:
        label_maps: folder of label maps, or of a trained model: then of its validation, each case from its own fold.
        output: another folder.
        dataset: the derived dataset's folder.
        workers: processes.
        overwrite: put back again what is there.

    Returns:
        The cases whose label map is in the output folder, and case -> why another failed.

    Raises:
        DerivationError: no derived dataset, the same folder twice, or an output folder of another dataset.
        ImageError: no label map, or two of one case.
    """
    values, derived = labels_back(dataset), derived_cases(dataset)
    files = label_maps_of(label_maps)
    if output.resolve() in {label_maps.resolve(), *(file.parent.resolve() for file in files.values())}:
        raise DerivationError(f"{output}: is where the label maps are, which would be lost. Name another folder.")
    output.mkdir(parents=True, exist_ok=True)

    def differs(before: Any) -> str | None:
        other = before.get("dataset")
        return None if other == dataset.name else f"label maps put back from {other}"

    facts = {"version": __version__, "dataset": dataset.name, "label_maps": str(label_maps.resolve())}
    record = open_record(output / RECORD, facts, differs, DerivationError, overwrite)
    failed: dict[str, str] = {}
    tasks = {}
    for case, path in files.items():
        target = output / f"{case}.nii.gz"
        if case not in derived:
            failed[case] = f"{case}: {path} is no case of {dataset.name}."
        elif overwrite or not target.is_file() or record.cases.get(case) != stamp(path):
            tasks[case] = Task(case, path, derived[case], values, target)
    for case, outcome in with_progress(run_cases(restore_file, tasks, workers), len(tasks), "restore"):
        if isinstance(outcome, KitsError):
            failed[case] = str(outcome)
        else:
            record.add(case, stamp(files[case]))
    return [case for case in files if case not in failed], failed


def restore_file(task: Task) -> None:
    """Put one label map back.

    Raises:
        DerivationError: a label map that does not lie where the derived case does, or a CT that has changed since.
        ImageError: an unreadable file.
    """
    case, derived = task.case, task.derived
    volume = read_integers(task.path, np.uint8)
    if volume is None:
        raise DerivationError(f"{case}: {task.path} holds values that are no labels.")
    if not volume.grid.is_same(derived.grid):
        raise DerivationError(
            f"{case}: {task.path} has {volume.grid.shape} voxels, but the derived case {derived.grid.shape}, or they "
            "lie elsewhere. Is it of another dataset, or put back already?"
        )
    if derived.image.is_file() and not read_grid(derived.image).is_same(derived.source_grid):
        raise DerivationError(
            f"{case}: {derived.image} has another grid than when the case was derived, so nothing can be put back on "
            "it. Derive the dataset again."
        )
    write_volume(task.target, derived.put_back(relabelled(volume.array, task.values)), derived.source_grid.affine)
