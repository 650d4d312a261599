"""Postprocess folders of label maps: resumable, each file written whole or not at all, the rest of the folder kept."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits import __version__
from nnunet_kits.atomic import atomic_path
from nnunet_kits.cases.finding import ending_of, find_label_maps
from nnunet_kits.cases.memory import check_memory
from nnunet_kits.cases.parallel import run_cases, with_progress
from nnunet_kits.cases.records import Record, open_record, stamp
from nnunet_kits.errors import KitsError, PostprocessingError
from nnunet_kits.images import check_placed, read_labels, write_volume
from nnunet_kits.postprocessing.pipeline import Chain, apply_chain
from nnunet_kits.postprocessing.voxel import Voxel

logger = logging.getLogger(__name__)

RECORD = "postprocess.json"
SIDECARS = ("dataset.json", "plans.json", "predict_from_raw_data_args.json")
"""What nnU-Net writes beside predictions and its later commands look for."""


BYTES_A_VOXEL = 30
"""Of memory, at most, for each voxel of the box that holds labels: components are numbered, with some copies."""


@dataclass(frozen=True)
class Task:
    """A label map to postprocess, and where to."""

    source: Path
    target: Path
    chain: Chain


def postprocess_folder(
    predictions: Path,
    output: Path,
    chain: Chain,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, str]:
    """Postprocess every label map of a folder into another.

    ``dataset.json`` and ``plans.json`` are copied, so that nnU-Net's own commands work on the new folder.
    ``postprocess.json`` there tells what each step changed.

    Args:
        predictions: folder with label maps, or one.
        output: another folder.
        chain: what to do.
        workers: processes.
        overwrite: do again what is there, also with another chain.

    Returns:
        Case -> why it failed.

    Raises:
        ImageError: no label map, or two of one case.
        PostprocessingError: the same folder twice, or an output folder of another chain.
    """
    files = find_label_maps(predictions)
    if output.resolve() in {predictions.resolve(), *(file.parent.resolve() for file in files.values())}:
        raise PostprocessingError(f"{output}: is where the predictions are, which would be lost. Name another folder.")
    output.mkdir(parents=True, exist_ok=True)
    record = _open_record(output / RECORD, chain, overwrite)
    for name in SIDECARS:
        if (predictions / name).is_file():
            with atomic_path(output / name) as temporary:
                shutil.copyfile(predictions / name, temporary)
    every = {case: Task(file, output / f"{case}{ending_of(file)}", chain) for case, file in files.items()}
    made_of = {case: kept.get("source") for case, kept in record.cases.items() if isinstance(kept, dict)}
    tasks = {
        case: task
        for case, task in every.items()
        if overwrite or not task.target.is_file() or made_of.get(case) != stamp(task.source)
    }
    if len(tasks) < len(files):
        logger.info(
            f"{len(files) - len(tasks)} of {len(files)} were postprocessed before; --overwrite does them again."
        )
    failed: dict[str, str] = {}
    for case, outcome in with_progress(
        run_cases(postprocess_file, tasks, workers), len(tasks), "postprocess", lines=False
    ):
        if isinstance(outcome, KitsError):
            failed[case] = str(outcome)
            logger.warning(f"{case}: failed: {outcome}")
        else:
            record.add(case, {"source": stamp(files[case]), "steps": outcome})
            logger.info(f"{case}: {_line(outcome)}")
    return failed


def postprocess_file(task: Task) -> list[dict[str, Any]]:
    """Postprocess one label map; the new one has the same grid and dtype.

    Returns:
        What each step changed.

    Raises:
        ImageError: an unreadable file, a value that is no KiTS label, or no orientation.
        PostprocessingError: more labelled voxels than memory is free for.
    """
    labels = read_labels(task.source)
    grid = labels.grid
    check_placed(task.source, grid)  # writing it would give it an orientation
    check_memory(
        {str(task.source): BYTES_A_VOXEL * labels.array.size},
        "postprocessing",
        "Close other programs, or look whether this is a label map: so large a part of it is labelled.",
        PostprocessingError,
    )
    changed, done = apply_chain(labels.array, Voxel.of(grid.affine), task.chain)
    if np.array_equal(changed, labels.array):
        with atomic_path(task.target) as temporary:
            shutil.copyfile(task.source, temporary)
        return done
    whole = replace(labels, array=changed).whole().astype(grid.dtype, copy=False)
    write_volume(task.target, whole, grid.affine)
    return done


def _line(done: list[dict[str, Any]]) -> str:
    """What a chain changed, in one line."""
    total: dict[str, float] = {}
    for step in done:
        for label, volume in step["changed_ml"].items():
            total[label] = total.get(label, 0.0) + volume
    return ", ".join(f"{label} {volume:+.3f} mL" for label, volume in total.items()) or "unchanged"


def _open_record(path: Path, chain: Chain, overwrite: bool) -> Record:
    """``postprocess.json`` beside the label maps: with what they were made, and what each step changed."""
    steps = [step.as_json() for step in chain.steps]

    def differs(before: Mapping[str, Any]) -> str | None:
        same = before.get("steps") == steps
        return None if same else f"label maps made with the chain {before.get('chain')}, and this is {chain.name}"

    facts = {"version": __version__, "chain": chain.name, "steps": steps}
    return open_record(path, facts, differs, PostprocessingError, overwrite)
