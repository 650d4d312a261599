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
from nnunet_kits.cases.cts import Cts, find_cts
from nnunet_kits.cases.finding import ending_of
from nnunet_kits.cases.memory import check_memory, fitting_workers
from nnunet_kits.cases.parallel import run_cases
from nnunet_kits.cases.records import Record, open_record
from nnunet_kits.errors import ImageError, InferenceError, KitsError
from nnunet_kits.images import CT_ENDINGS, CtSource, Series, output_ending, read_any_grid, read_ct_scan
from nnunet_kits.inference.fold_cases import FoldCases
from nnunet_kits.inference.jobs import Job, Loaded, SystemJob, load
from nnunet_kits.inference.orientation import axes_of
from nnunet_kits.inference.probabilities import write_probabilities
from nnunet_kits.inference.scan import Clock
from nnunet_kits.measurement.agreement import as_table, in_words
from nnunet_kits.measurement.remarks import not_in_hu

logger = logging.getLogger(__name__)

RECORD, AGREEMENT = "prediction.json", "agreement.csv"
SHORT_OF_MEMORY = (
    "Close other programs, predict the fine stage in boxes (--coarse, without --whole-volume), give fewer models at "
    "once, or leave the case out."
)


Source = Path | Cts | FoldCases
"""Where scans are found, what was found, or the cases of folds."""


@dataclass(frozen=True)
class Case:
    """One scan to predict: its name, its file or series, and the label map to write."""

    name: str
    image: CtSource
    output: Path


def find_cases(source: Source, output: Path, ending: str) -> list[Case]:
    """The scans of an input, and the label maps to write; for a single scan ``output`` may be that one.

    A label map is written in the format of its scan; that of a DICOM series as NIfTI.

    Args:
        source: CTs, or where to find them.
        output: a folder, or a label map.
        ending: of the files of the model's dataset, which are read whatever they are.

    Raises:
        ImageError: nothing there, two scans of one case, or a scan of several channels.
    """
    if isinstance(source, Path):
        source = find_cts(source, endings=tuple(dict.fromkeys((*CT_ENDINGS, ending))))
    scans: Mapping[str, CtSource] = source.scans if isinstance(source, FoldCases) else source.sources
    single = isinstance(source, Cts) and len(scans) == 1 and not source.refused and not output.is_dir()
    if single and output.name.endswith((*CT_ENDINGS, ending)):
        return [Case(name, scan, output) for name, scan in scans.items()]
    return [Case(name, scan, output / f"{name}{output_ending(scan)}") for name, scan in scans.items()]


def predict_case(case: Case, loaded: Loaded, progress: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Predict one scan and write its label map.

    Returns:
        What happened: boxes, seconds by phase, notes.
    """
    clock = Clock()
    first = loaded.models[0]
    reader = str(first.plans.plans["image_reader_writer"])
    with clock("load"):
        scan = read_ct_scan(case.image, reader, lambda: first.plans.image_reader_writer_class())
    notes = not_in_hu(scan.array[0])
    found = loaded.predict(scan.array[0], scan.spacing_mm, progress, clock, axes_of(scan.properties))
    if loaded.job.save_probabilities:
        stem = case.output.with_name(case.output.name.removesuffix(ending_of(case.output, CT_ENDINGS)))
        with clock("probabilities"):
            write_probabilities(stem, found, first, scan.properties)
    with clock("write"):
        scan.write(found.labels, case.output)
    compared = {"agreement": found.agreement} if found.agreement else {}
    return {
        "case": case.name,
        **compared,
        "boxes": found.boxes,
        "seconds": {phase: round(seconds, 2) for phase, seconds in clock.seconds.items()},
        "notes": [*filter(None, [scan.note]), *notes, *found.notes],
        **({"series": case.image.uid} if isinstance(case.image, Series) else {}),
    }


def predict_files(
    job: Job | SystemJob,
    source: Path | Cts | Sequence[FoldCases],
    output: Path,
    workers: int = 1,
    overwrite: bool = False,
) -> dict[str, str]:
    """Predict a file or a folder; what was written before is kept.

    Args:
        job: models and settings.
        source: a CT or a folder of CTs, of any format or DICOM; what
            :func:`~nnunet_kits.cases.cts.find_cts` found; or the cases of folds, each predicted by its own folds and
            not by the job's.
        output: a folder, or for a single CT the label map to write.
        workers: processes; fewer where memory is short.
        overwrite: predict again what is there.

    Returns:
        Case -> why it failed.

    Raises:
        InferenceError: models that do not fit, too little memory, or an output folder of other settings.
    """
    if isinstance(source, Path | Cts):
        return _predict_part(job, source, output, workers, overwrite)
    failed: dict[str, str] = {}
    for number, part in enumerate(source):
        own = replace(job, folds=part.folds)
        failed |= _predict_part(own, part, output, workers, overwrite, begins=number == 0)
    return failed


def _predict_part(
    job: Job | SystemJob,
    source: Source,
    output: Path,
    workers: int,
    overwrite: bool,
    begins: bool = True,
) -> dict[str, str]:
    """:func:`predict_files` for scans of one job; the record is begun anew on request only where the run begins."""
    loaded = load(job)
    cases = find_cases(source, output, loaded.dataset_json["file_ending"])
    refused = dict(source.refused) if isinstance(source, Cts) else {}
    for name, reason in refused.items():
        logger.warning(f"{name}: failed: {reason}")
    if not cases:
        return refused
    folder = cases[0].output.parent
    compare = isinstance(job, Job) and job.settings.agreement
    if compare and cases[0].output == output:
        raise InferenceError(f"{output}: --agreement writes tables beside the label maps. Give a folder with -o.")
    folder.mkdir(parents=True, exist_ok=True)
    by_fold = isinstance(source, FoldCases)
    record = None
    if cases[0].output != output:
        record = _open_record(folder / RECORD, job, overwrite and begins, by_fold)
    cut = set(record.begun) if record is not None else set()  # written perhaps, but without their note in the record
    left = [case for case in cases if overwrite or not case.output.exists() or case.name in cut]
    if record is not None and not overwrite:
        _check_series(record, cases)
    if len(left) < len(cases):
        logger.info(f"{len(cases) - len(left)} of {len(cases)} were predicted before; --overwrite does them again.")
    if record is not None and compare:
        lacking = [case for case in cases if case not in left and "agreement" not in record.cases.get(case.name, {})]
        if lacking:
            logger.warning(
                f"{len(lacking)} of them without --agreement, so they have none; --overwrite does them again."
            )
    if record is not None:
        _write_nnunet_files(folder, loaded, cases)
    if not left:
        return refused
    for remark in loaded.remarks:
        logger.warning(remark)
    workers, too_large = _workers(loaded, left, workers)
    failed = refused | too_large
    for name, reason in too_large.items():
        logger.warning(f"{name}: failed: {reason}")
    left = [case for case in left if case.name not in too_large]
    if record is not None:
        record.begin(case.name for case in left)
    for case, outcome in _run(job, loaded, left, workers):
        if isinstance(outcome, KitsError):
            failed[case.name] = str(outcome)
            logger.warning(f"{case.name}: failed: {outcome}")
            continue
        if record is not None:
            kept = {key: value for key, value in outcome.items() if key != "case"}
            record.add(case.name, {**kept, "folds": job.folds} if by_fold else kept)
        logger.info(_line(outcome))
    if record is not None:
        record.end(case.name for case in left)
    if record is not None and compare:
        table = as_table({name: kept["agreement"] for name, kept in record.cases.items() if "agreement" in kept})
        write_text(folder / AGREEMENT, table)
    return failed


def _line(outcome: dict[str, Any]) -> str:
    total = sum(outcome["seconds"].values())
    notes = "".join(f"; {note}" for note in (*map(in_words, outcome.get("agreement", ())), *outcome["notes"]))
    boxes = len(outcome["boxes"])
    return f"{outcome['case']}: {total:.1f} s, {boxes} {'box' if boxes == 1 else 'boxes'}{notes}"


def _workers(loaded: Loaded, cases: Sequence[Case], wanted: int) -> tuple[int, dict[str, str]]:
    """How many processes fit the largest of the cases that fit at all; case -> why not, of the others."""
    needs: dict[str, int] = {}
    too_large: dict[str, str] = {}
    for case in cases:
        try:
            grid = read_any_grid(case.image)
        except ImageError:  # the case's own turn will tell, or it is no NIfTI file
            continue
        needed = loaded.bytes_needed(grid.shape[::-1], grid.spacing_mm[::-1], grid.dtype.itemsize)
        try:
            check_memory({case.name: needed}, "predicting", SHORT_OF_MEMORY, InferenceError)
            needs[case.name] = needed
        except InferenceError as error:
            too_large[case.name] = str(error)
    if not needs:
        return fitting_workers(len(cases), wanted=wanted), too_large
    largest = max(needs, key=needs.__getitem__)
    found = fitting_workers(len(cases), needs[largest], wanted)
    logger.info(f"largest case {largest} needs about {needs[largest] / 1e9:.1f} GB of memory; {found} process(es)")
    return found, too_large


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


def _check_series(record: Record, cases: Sequence[Case]) -> None:
    """Refuse to keep a label map of another series than the one that is meant now.

    Raises:
        InferenceError: naming both.
    """
    for case in cases:
        before = record.cases.get(case.name)
        known = before.get("series") if isinstance(before, dict) else None
        if isinstance(case.image, Series) and case.output.exists() and known not in (None, case.image.uid):
            raise InferenceError(
                f"{case.output}: is the label map of series {known}, not of {case.image.title}. Predict into another "
                "folder, or give --overwrite."
            )


def _write_nnunet_files(folder: Path, loaded: Loaded, cases: Sequence[Case]) -> None:
    """dataset.json and plans.json, which nnU-Net's postprocessing and evaluation look for beside predictions."""
    endings = {ending_of(case.output, CT_ENDINGS) for case in cases}
    described = {**loaded.dataset_json, **({"file_ending": endings.pop()} if len(endings) == 1 else {})}
    for name, content in (("dataset.json", described), ("plans.json", loaded.models[0].plans.plans)):
        write_text(folder / name, json.dumps(content, indent=2, default=str))
