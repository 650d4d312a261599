"""Folders of phantoms, named and laid out as each year's challenge ships its data."""

import json
import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.atomic import write_text
from nnunet_kits.cases.parallel import run_all, with_progress
from nnunet_kits.cases.records import read_record
from nnunet_kits.errors import KitsError
from nnunet_kits.images import write_volume
from nnunet_kits.labels import Label
from nnunet_kits.phantom.grid import Size, find_size
from nnunet_kits.phantom.render import make_phantom
from nnunet_kits.releases import Release, release_of

logger = logging.getLogger(__name__)

PHANTOM_VERSION = 1
"""Raised whenever the same seed gives other pictures than before."""

RECORD_NAME = "phantom.json"


def case_numbers(year: str, cases: int, test_cases: int = 0) -> tuple[list[int], list[int]]:
    """The first training and the first test case numbers of a year.

    Raises:
        KitsError: the year is not known, or its challenge has fewer cases.
    """
    release = release_of(year)
    training = [number for numbers in release.training for number in numbers]
    test = [number for numbers in release.test for number in numbers]
    for asked, known, kind in ((cases, training, "training"), (test_cases, test, "test")):
        lowest = 1 if kind == "training" else 0
        if not lowest <= asked <= len(known):
            raise KitsError(
                f"{asked} {kind} cases of {release.edition} were asked for, but its numbers allow {lowest} to "
                f"{len(known)}. Ask for a number in this range."
            )
    return training[:cases], test[:test_cases]


def year_labels(label: NDArray[np.uint8], release: Release) -> NDArray[np.uint8]:
    """The label map as a year labels it: one that knows no cysts (KiTS19) counts those on a kidney as kidney."""
    if Label.CYST in release.labels:
        return label
    return np.where(label == Label.CYST, np.uint8(Label.KIDNEY), label)


def annotator_maps(label: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """What three annotators make of a label map: where most agree, where all agree, where any of them labels.

    Every structure is smaller by a pixel all around within the slice in ``AND`` and larger by one in ``OR``, which are
    laid over one another in KiTS21's order: kidney, cyst, tumor.

    Returns:
        Aggregation, as in :attr:`nnunet_kits.releases.Release.label_files` -> label map.
    """
    in_slice = ndimage.generate_binary_structure(3, 1)
    in_slice[[0, 2]] = False
    every, anyone = np.zeros_like(label), np.zeros_like(label)
    for value in (Label.KIDNEY, Label.CYST, Label.TUMOR):
        structure = label == value
        every[ndimage.binary_erosion(structure, in_slice)] = value
        anyone[ndimage.binary_dilation(structure, in_slice)] = value
    return {"MAJ": label, "AND": every, "OR": anyone}


def write_tree(
    out: str | Path,
    year: str,
    cases: int = 12,
    test_cases: int = 0,
    seed: int = 0,
    size: str | Size = "small",
    test_labels: str | Path | None = None,
    jobs: int = 1,
) -> list[Path]:
    """Write phantoms as a year's challenge ships its data. What is there and complete is kept.

    Args:
        out: the repository root to imitate; created, or holding phantoms of the same seed, year and size.
        year: whose labels, file names and case numbers.
        cases: number of labelled training cases.
        test_cases: number of test cases, which get an image only.
        seed: picks the set of patients.
        size: how finely they are sampled.
        test_labels: where to write ``case_NNNNN.nii.gz`` with the labels of the test cases, if anywhere.
        jobs: processes that work at a time.

    Returns:
        Folders of all cases asked for, training cases first.

    Raises:
        KitsError: unknown year or size, more cases than the year has, or a folder that holds something else.
    """
    release, size = release_of(year), find_size(size)
    out, test_labels = Path(out), Path(test_labels) if test_labels is not None else None
    training, test = case_numbers(year, cases, test_cases)
    if jobs < 1:
        raise KitsError(f"jobs is {jobs}, but at least one process must work.")
    _claim(out, {"version": PHANTOM_VERSION, "year": release.year, "seed": seed, "size": asdict(size)})
    if test_labels is not None and test:
        test_labels.mkdir(parents=True, exist_ok=True)
    data = out / release.data_folders[0]
    make = partial(_write_case, data, release, seed, size, test_labels, frozenset(test))
    tasks = {f"case_{number:05d}": number for number in training + test}
    for case, made in with_progress(run_all(make, tasks, jobs), len(tasks), "phantom", lines=False):
        logger.info(f"{case} {'written' if made else 'kept'}")
    return [data / case for case in tasks]


def _claim(out: Path, record: dict[str, object]) -> None:
    """Record in ``out`` what is made there, or check that the same was made there before."""
    path = out / RECORD_NAME
    record = json.loads(json.dumps(record))
    if path.is_file():
        found = read_record(path)
        if found is None:
            raise KitsError(f"{path}: not a record of phantoms. Delete it, or choose another folder.")
        differing = [f"{k} {found.get(k)} (asked for: {v})" for k, v in record.items() if found.get(k) != v]
        if differing:
            raise KitsError(
                f"{out}: holds phantoms of other parameters: {'; '.join(differing)}. "
                "Choose another folder, or delete this one."
            )
        return
    if out.exists() and (not out.is_dir() or any(not p.name.startswith(f".{RECORD_NAME}.") for p in out.iterdir())):
        raise KitsError(f"{out}: exists, is not empty and holds no {RECORD_NAME}. Choose a new or empty folder.")
    out.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(record, indent=2) + "\n")


def _write_case(
    data: Path, release: Release, seed: int, size: Size, test_labels: Path | None, test: frozenset[int], number: int
) -> bool:
    """Write the files of one case that are missing; the image last, so that it stands for a complete case.

    Returns:
        Whether one was missing.
    """
    folder = data / f"case_{number:05d}"
    label_paths = {name: folder / file for name, file in release.label_files.items()}
    if number in test:
        label_paths = {"": test_labels / f"{folder.name}.nii.gz"} if test_labels is not None else {}
    image_path = folder / release.image_file
    if all(path.is_file() for path in [*label_paths.values(), image_path]):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    phantom = make_phantom(number, seed, size)
    label = year_labels(phantom.label, release)
    maps = annotator_maps(label) if any(label_paths) else {"": label}
    for name, path in label_paths.items():
        if not path.is_file():
            write_volume(path, maps[name], phantom.affine)
    if not image_path.is_file():
        write_volume(image_path, phantom.image.astype(np.float64), phantom.affine)
    return True
