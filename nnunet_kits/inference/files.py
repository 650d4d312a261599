"""Predict files: resumable, one process or several, each case written whole or not at all."""

import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nnunet_kits.atomic import write_text
from nnunet_kits.cases.finding import find_scans
from nnunet_kits.cases.memory import check_memory, fitting_workers
from nnunet_kits.cases.parallel import run_cases
from nnunet_kits.cases.records import Record, open_record
from nnunet_kits.errors import ImageError, InferenceError, KitsError
from nnunet_kits.images import read_grid, read_scan
from nnunet_kits.inference.fold_cases import FoldCases
from nnunet_kits.inference.jobs import Job, Loaded, SystemJob, load
from nnunet_kits.inference.orientation import axes_of
from nnunet_kits.inference.probabilities import write_probabilities
from nnunet_kits.inference.scan import Clock

logger = logging.getLogger(__name__)

RECORD = "prediction.json"
SHORT_OF_MEMORY = (
    "Close other programs, predict the fine stage in boxes (--coarse, without --whole-volume), give fewer models at "
    "once, or leave the case out."
)


@dataclass(frozen=True)
class Case:
    """One scan to predict: its name, its file, and the label map to write."""

    name: str
    image: Path
    output: Path


def find_cases(source: Path | FoldCases, output: Path, ending: str) -> list[Case]:
    """The scans in a file or folder, and the label maps to write; for a single file ``output`` may be that one.

    Raises:
        ImageError: nothing there, two scans of one case, or a scan of several channels.
    """
    if isinstance(source, FoldCases):
        return [Case(name, file, output / f"{name}{ending}") for name, file in source.scans.items()]
    if source.is_file() and not source.name.endswith(ending):
        raise ImageError(f"{source}: the model reads {ending} files. Convert it first.")
    single = source.is_file() and output.name.endswith(ending)
    scans = find_scans(source, (ending,))
    return [Case(name, file, output if single else output / f"{name}{ending}") for name, file in scans.items()]


def predict_case(case: Case, loaded: Loaded, progress: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Predict one scan and write its label map.

    Returns:
        What happened: boxes, seconds by phase, notes.
    """
    clock = Clock()
    first = loaded.models[0]
    reader = str(first.plans.plans["image_reader_writer"])
    with clock("load"):
        scan = read_scan([case.image], reader, lambda: first.plans.image_reader_writer_class())
    found = loaded.predict(scan.array[0], scan.spacing_mm, progress, clock, axes_of(scan.properties))
    if loaded.job.save_probabilities:
        stem = case.output.with_name(case.output.name.removesuffix(loaded.dataset_json["file_ending"]))
        with clock("probabilities"):
            write_probabilities(stem, found, first, scan.properties)
    with clock("write"):
        scan.write(found.labels, case.output)
    return {
        "case": case.name,
        "boxes": found.boxes,
        "seconds": {phase: round(seconds, 2) for phase, seconds in clock.seconds.items()},
        "notes": found.notes,
    }


def predict_files(
    job: Job | SystemJob,
    source: Path | Sequence[FoldCases],
    output: Path,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, str]:
    """Predict a file or a folder; what was written before is kept.

    Args:
        job: models and settings.
        source: a CT or a folder of CTs; or the cases of folds, each predicted by its own folds and not by the job's.
        output: a folder, or for a single CT the label map to write.
        workers: processes; fewer where memory is short.
        overwrite: predict again what is there.

    Returns:
        Case -> why it failed.

    Raises:
        InferenceError: models that do not fit, too little memory, or an output folder of other settings.
    """
    if isinstance(source, Path):
        return _predict_part(job, source, output, workers, overwrite)
    failed: dict[str, str] = {}
    for number, part in enumerate(source):
        own = replace(job, folds=part.folds)
        failed |= _predict_part(own, part, output, workers, overwrite, begins=number == 0)
    return failed


def _predict_part(
    job: Job | SystemJob,
    source: Path | FoldCases,
    output: Path,
    workers: int,
    overwrite: bool,
    begins: bool = True,
) -> dict[str, str]:
    """:func:`predict_files` for scans of one job; the record is begun anew on request only where the run begins."""
    loaded = load(job)
    cases = find_cases(source, output, loaded.dataset_json["file_ending"])
    folder = cases[0].output.parent
    folder.mkdir(parents=True, exist_ok=True)
    by_fold = isinstance(source, FoldCases)
    record = None
    if cases[0].output != output:
        record = _open_record(folder / RECORD, job, overwrite and begins, by_fold)
    left = [case for case in cases if overwrite or not case.output.exists()]
    if len(left) < len(cases):
        logger.info(f"{len(cases) - len(left)} of {len(cases)} were predicted before; --overwrite does them again.")
    if not left:
        return {}
    if record is not None:
        _write_nnunet_files(folder, loaded)
    for remark in loaded.remarks:
        logger.warning(remark)
    workers = _workers(loaded, left, workers)
    failed: dict[str, str] = {}
    for case, outcome in _run(job, loaded, left, workers):
        if isinstance(outcome, KitsError):
            failed[case.name] = str(outcome)
            logger.warning(f"{case.name}: failed: {outcome}")
            continue
        if record is not None:
            kept = {key: value for key, value in outcome.items() if key != "case"}
            record.add(case.name, {**kept, "folds": job.folds} if by_fold else kept)
        logger.info(_line(outcome))
    return failed


def _line(outcome: dict[str, Any]) -> str:
    total = sum(outcome["seconds"].values())
    notes = "".join(f"; {note}" for note in outcome["notes"])
    boxes = len(outcome["boxes"])
    return f"{outcome['case']}: {total:.1f} s, {boxes} {'box' if boxes == 1 else 'boxes'}{notes}"


def _workers(loaded: Loaded, cases: Sequence[Case], wanted: int) -> int:
    """How many processes fit the largest of the cases."""
    needs = {}
    for case in cases:
        try:
            grid = read_grid(case.image)
        except ImageError:  # the case's own turn will tell, or it is no NIfTI file
            continue
        needs[case.name] = loaded.bytes_needed(grid.shape[::-1], grid.spacing_mm[::-1], grid.dtype.itemsize)
    if not needs:
        return fitting_workers(len(cases), wanted=wanted)
    check_memory(needs, "predicting", SHORT_OF_MEMORY, InferenceError)
    largest = max(needs, key=needs.__getitem__)
    found = fitting_workers(len(cases), needs[largest], wanted)
    logger.info(f"largest case {largest} needs about {needs[largest] / 1e9:.1f} GB of memory; {found} process(es)")
    return found


def _run(
    job: Job | SystemJob, loaded: Loaded, cases: Sequence[Case], workers: int
) -> Iterator[tuple[Case, dict[str, Any] | KitsError]]:
    """Predict the cases, each with what happened or the error that it met."""
    by_name = {case.name: case for case in cases}
    attempt = partial(_attempt, loaded) if workers == 1 else partial(_attempt_in_worker, job, workers)
    for name, outcome in run_cases(attempt, by_name, workers):
        yield by_name[name], outcome


@functools.cache
def _load_in_worker(job: Job | SystemJob, workers: int) -> Loaded:
    """Load the models once in each process, and share the processors."""
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    return load(job)


def _attempt_in_worker(job: Job | SystemJob, workers: int, case: Case) -> dict[str, Any] | KitsError:
    return _attempt(_load_in_worker(job, workers), case)


def _attempt(loaded: Loaded, case: Case) -> dict[str, Any] | KitsError:
    """One case; a bad one does not stop the others."""
    from tqdm import tqdm

    try:
        with tqdm(desc=case.name, unit="window", disable=None, leave=False) as bar:
            return predict_case(case, loaded, bar.update)
    except KitsError as error:
        return error
    except (MemoryError, torch.OutOfMemoryError) as error:
        return InferenceError(
            f"{case.name}: out of memory ({error}). Use --device cpu, a coarse model (--coarse), or fewer folds."
        )


def _open_record(path: Path, job: Job | SystemJob, overwrite: bool, by_fold: bool) -> Record:
    """``prediction.json`` beside the label maps: with what they were made, and how each went."""
    made = job.made_with()
    if by_fold:  # then each case says it
        made["folds"] = "those that were not trained on the case"

    def differs(before: Mapping[str, Any]) -> str | None:
        others = before.get("made_with", {})
        changed = sorted(key for key in {*made, *others} if others.get(key) != made.get(key))
        return f"predictions made with other settings ({', '.join(changed)})" if changed else None

    return open_record(path, {"made_with": made}, differs, InferenceError, overwrite)


def _write_nnunet_files(folder: Path, loaded: Loaded) -> None:
    """dataset.json and plans.json, which nnU-Net's postprocessing and evaluation look for beside predictions."""
    for name, content in (("dataset.json", loaded.dataset_json), ("plans.json", loaded.models[0].plans.plans)):
        write_text(folder / name, json.dumps(content, indent=2, default=str))
