"""Measure label map files: one table for all, resumable."""

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.atomic import write_text
from nnunet_kits.cases.cts import Choice, cts_of
from nnunet_kits.cases.finding import check_labels_beside, find_label_maps
from nnunet_kits.cases.parallel import run_cases, with_progress
from nnunet_kits.cases.records import Journal, file_key
from nnunet_kits.errors import KitsError
from nnunet_kits.geometry import crop, whole_box
from nnunet_kits.images import CT_ENDINGS, CtSource, check_placed, check_same_grid, files_of, read_any_ct, read_labels
from nnunet_kits.measurement.measure import COLUMNS, Measures, measure_labels, middle_of
from nnunet_kits.measurement.remarks import image_remarks, remarks_on

logger = logging.getLogger(__name__)

TABLE, FULL, JOURNAL = "measures.csv", "measures.json", ".measures.partial.jsonl"


@dataclass(frozen=True)
class Task:
    """A label map to measure, and its CT if there is one."""

    case: str
    labels: Path
    image: CtSource | None


def measure_files(
    labels: Path,
    output: Path,
    images: Path | None = None,
    min_volume_ml: float = 0.0,
    workers: int = 1,
    choice: Choice | None = None,
) -> tuple[dict[str, Measures], dict[str, str]]:
    """Measure a label map or a folder of them, and write ``measures.csv`` and ``measures.json``.

    Args:
        labels: a file, a folder of label maps, or a KiTS folder.
        output: folder for the results.
        images: CTs for the mean HU: a file, a folder with ``case_0000.nii.gz`` or ``case.nii.gz``, a KiTS folder, or
            DICOM.
        min_volume_ml: smaller lesions are left out.
        workers: processes.
        choice: of a DICOM series.

    Returns:
        Case -> measures, and case -> why it failed.

    Raises:
        ImageError: no label map, one without its CT, or two of one case.
    """
    files = find_label_maps(labels, endings=CT_ENDINGS)
    check_labels_beside(labels)
    scans = cts_of(files, images, choice) if images else {}
    return measure_cases(files, scans, output, min_volume_ml, workers)


def measure_cases(
    labels: Mapping[str, Path],
    images: Mapping[str, CtSource],
    output: Path,
    min_volume_ml: float = 0.0,
    workers: int = 1,
) -> tuple[dict[str, Measures], dict[str, str]]:
    """:func:`measure_files` for files that are known.

    Args:
        labels: case -> label map.
        images: case -> CT, for the cases that have one.
        output: folder for the results.
        min_volume_ml: smaller lesions are left out.
        workers: processes.

    Returns:
        Case -> measures, and case -> why it failed.
    """
    tasks = {case: Task(case, file, images.get(case)) for case, file in labels.items()}
    output.mkdir(parents=True, exist_ok=True)
    journal = Journal(output / JOURNAL)
    keys = {
        case: json.dumps(
            [__version__, min_volume_ml, file_key(task.labels, *(files_of(task.image) if task.image else ()))]
        )
        for case, task in tasks.items()
    }
    left = {case: task for case, task in tasks.items() if keys[case] not in journal.results}
    if len(left) < len(tasks):
        logger.info(f"{len(tasks) - len(left)} of {len(tasks)} cases were measured before")
    failed: dict[str, str] = {}
    outcomes = run_cases(partial(measure_task, min_volume_ml=min_volume_ml), left, workers)
    for case, outcome in with_progress(outcomes, len(left), "measure", lines=False):
        if isinstance(outcome, KitsError):
            failed[case] = str(outcome)
            logger.warning(f"{case}: failed: {outcome}")
        else:
            journal.add(keys[case], outcome.as_json())
            logger.info(f"{case}: {_line(outcome)}")
    found = {case: Measures.from_json(journal.results[key]) for case, key in keys.items() if key in journal.results}
    write_measures(output, found)
    if not failed:
        journal.close()
    return found, failed


def measure_task(task: Task, min_volume_ml: float = 0.0) -> Measures:
    """Measure one label map.

    Raises:
        ImageError: an unreadable file, a value that is no KiTS label, no orientation, or a CT on another grid.
    """
    labels = read_labels(task.labels)
    check_placed(task.labels, labels.grid)
    grid, start = labels.grid, labels.start[2]
    columns, rows, _ = whole_box(grid.shape)
    planes = columns, rows, (start, start + labels.array.shape[2])  # those that hold foreground
    image, of_image = None, list[str]()
    if task.image is not None:
        volume = read_any_ct(task.image)
        check_same_grid(task.case, volume.grid, grid)
        image, of_image = crop(volume.array, planes).copy(), image_remarks(volume)
        del volume
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * start
    measures = measure_labels(labels.within(planes), affine, image, min_volume_ml, middle_of(grid.shape, grid.affine))
    return replace(measures.moved(start), remarks=remarks_on(measures, labels, of_image))


def write_measures(output: Path, found: dict[str, Measures]) -> None:
    """Write ``measures.csv`` and ``measures.json``, each whole or not at all."""
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["case", *COLUMNS, "remarks"])
    for case, measures in found.items():
        for measure in measures.structures:
            row = asdict(measure)
            writer.writerow([case, *(_cell(row[column]) for column in COLUMNS), "; ".join(measures.remarks)])
    content = {"version": __version__, "cases": {case: measures.as_json() for case, measures in found.items()}}
    for name, text in ((TABLE, table.getvalue()), (FULL, json.dumps(content, indent=2) + "\n")):
        write_text(output / name, text)


def _cell(value: Any) -> Any:
    """Numbers with four decimals; nothing for what cannot be had."""
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else value


def _line(measures: Measures) -> str:
    """The kidneys, the largest tumour and the remarks, in one line."""
    parts = [f"{m.side} kidney {m.volume_ml:.0f} mL" for m in measures.structures if m.structure == "kidney_and_mass"]
    tumors = [m for m in measures.structures if m.structure == "tumor"]
    if tumors:
        parts.append(f"{len(tumors)} tumor, largest {tumors[0].axial_diameter_cm:.1f} cm {tumors[0].side}")
    return "; ".join([", ".join(parts) or "nothing to measure", *measures.remarks])
