"""Folders of phantoms, named and laid out as each year's challenge ships its data."""

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nnunet_kits.atomic import write_text
from nnunet_kits.errors import KitsError
from nnunet_kits.images import write_volume
from nnunet_kits.labels import Label
from nnunet_kits.phantom.grid import Size, find_size
from nnunet_kits.phantom.render import make_phantom

PHANTOM_VERSION = 1
"""Raised whenever the same seed gives other pictures than before."""

RECORD_NAME = "phantom.json"


@dataclass(frozen=True)
class YearLayout:
    """How one challenge numbers and names its cases.

    Attributes:
        data_folder: where the case folders are, below the repository root.
        training_numbers: half-open ranges of case numbers with labels.
        test_numbers: half-open range of case numbers without.
        label_names: label files of a training case.
        labels: values that occur in them.
    """

    data_folder: str
    training_numbers: tuple[range, ...]
    test_numbers: range
    label_names: tuple[str, ...]
    labels: tuple[Label, ...]


_ALL = (Label.KIDNEY, Label.TUMOR, Label.CYST)
_AGGREGATED = ("aggregated_MAJ_seg.nii.gz", "aggregated_AND_seg.nii.gz", "aggregated_OR_seg.nii.gz")

YEARS: dict[str, YearLayout] = {
    "19": YearLayout("data", (range(210),), range(210, 300), ("segmentation.nii.gz",), _ALL[:2]),
    "21": YearLayout("kits21/data", (range(300),), range(300, 400), _AGGREGATED, _ALL),
    "23": YearLayout("dataset", (range(300), range(400, 589)), range(589, 699), ("segmentation.nii.gz",), _ALL),
}
"""Challenge year -> layout. KiTS23 has no cases 300 to 399; KiTS21 kept its test cases to itself."""


def find_year(year: str) -> YearLayout:
    """The layout of a challenge year.

    Raises:
        KitsError: there was no such challenge.
    """
    if year not in YEARS:
        raise KitsError(f"KiTS year {year!r} is not known. Choose one of: {', '.join(YEARS)}.")
    return YEARS[year]


def case_numbers(year: str, cases: int, test_cases: int = 0) -> tuple[list[int], list[int]]:
    """The first training and the first test case numbers of a year.

    Raises:
        KitsError: the year is not known, or its challenge has fewer cases.
    """
    layout = find_year(year)
    training = [number for numbers in layout.training_numbers for number in numbers]
    test = list(layout.test_numbers)
    for asked, known, kind in ((cases, training, "training"), (test_cases, test, "test")):
        lowest = 1 if kind == "training" else 0
        if not lowest <= asked <= len(known):
            raise KitsError(
                f"{asked} {kind} cases of KiTS{year} were asked for, but its numbers allow {lowest} to {len(known)}. "
                "Ask for a number in this range."
            )
    return training[:cases], test[:test_cases]


def year_labels(label: NDArray[np.uint8], year: str) -> NDArray[np.uint8]:
    """The label map as a year labels it: KiTS19 knows no cysts and counts those on a kidney as kidney."""
    if Label.CYST in find_year(year).labels:
        return label
    return np.where(label == Label.CYST, np.uint8(Label.KIDNEY), label)


def annotator_maps(label: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """What three annotators make of a label map: where most agree, where all agree, where any of them labels.

    Every structure is smaller by a pixel all around within the slice in ``AND`` and larger by one in ``OR``, which are
    laid over one another in KiTS21's order: kidney, cyst, tumor.

    Returns:
        File name -> label map, in the order of the year's ``label_names``.
    """
    in_slice = ndimage.generate_binary_structure(3, 1)
    in_slice[[0, 2]] = False
    every, anyone = np.zeros_like(label), np.zeros_like(label)
    for value in (Label.KIDNEY, Label.CYST, Label.TUMOR):
        structure = label == value
        every[ndimage.binary_erosion(structure, in_slice)] = value
        anyone[ndimage.binary_dilation(structure, in_slice)] = value
    return dict(zip(_AGGREGATED, (label, every, anyone), strict=True))


def write_tree(
    out: str | Path,
    year: str,
    cases: int = 12,
    test_cases: int = 0,
    seed: int = 0,
    size: str | Size = "small",
    test_labels: str | Path | None = None,
    jobs: int = 1,
    progress: Callable[[str, bool], None] | None = None,
) -> list[Path]:
    """Write phantoms as a year's challenge ships its data. What is there and complete is kept.

    Args:
        out: the repository root to imitate; created, or holding phantoms of the same seed, year and size.
        year: "19", "21" or "23".
        cases: number of labelled training cases.
        test_cases: number of test cases, which get an image only.
        seed: picks the set of patients.
        size: how finely they are sampled.
        test_labels: where to write ``case_NNNNN.nii.gz`` with the labels of the test cases, if anywhere.
        jobs: processes that work at a time.
        progress: called after every case with its name and whether it was made now.

    Returns:
        Folders of all cases asked for, training cases first.

    Raises:
        KitsError: unknown year or size, more cases than the year has, or a folder that holds something else.
    """
    layout, size = find_year(year), find_size(size)
    out, test_labels = Path(out), Path(test_labels) if test_labels is not None else None
    training, test = case_numbers(year, cases, test_cases)
    if jobs < 1:
        raise KitsError(f"jobs is {jobs}, but at least one process must work.")
    _claim(out, {"version": PHANTOM_VERSION, "year": year, "seed": seed, "size": asdict(size)})
    if test_labels is not None and test:
        test_labels.mkdir(parents=True, exist_ok=True)
    make = partial(_write_case, out / layout.data_folder, year, seed, size, test_labels, frozenset(test))
    folders = []
    for folder, made in _map(make, training + test, jobs):
        folders.append(folder)
        if progress is not None:
            progress(folder.name, made)
    return folders


def _map(make: Callable[[int], tuple[Path, bool]], numbers: list[int], jobs: int):  # type: ignore[no-untyped-def]
    """``make`` of every number in order, in ``jobs`` processes."""
    if jobs == 1:
        yield from map(make, numbers)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(make, numbers)


def _claim(out: Path, record: dict[str, object]) -> None:
    """Record in ``out`` what is made there, or check that the same was made there before."""
    path = out / RECORD_NAME
    record = json.loads(json.dumps(record))
    if path.is_file():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = None
        if not isinstance(found, dict):
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
    data: Path, year: str, seed: int, size: Size, test_labels: Path | None, test: frozenset[int], number: int
) -> tuple[Path, bool]:
    """Write the files of one case that are missing; the image last, so that it stands for a complete case."""
    layout, folder = YEARS[year], data / f"case_{number:05d}"
    label_paths = [folder / name for name in layout.label_names]
    if number in test:
        label_paths = [test_labels / f"{folder.name}.nii.gz"] if test_labels is not None else []
    image_path = folder / "imaging.nii.gz"
    if all(path.is_file() for path in [*label_paths, image_path]):
        return folder, False
    folder.mkdir(parents=True, exist_ok=True)
    phantom = make_phantom(number, seed, size)
    label = year_labels(phantom.label, year)
    maps = [label] * len(label_paths)
    if len(label_paths) > 1:
        maps = list(annotator_maps(label).values())
    for path, values in zip(label_paths, maps, strict=True):
        if not path.is_file():
            write_volume(path, values, phantom.affine)
    if not image_path.is_file():
        write_volume(image_path, phantom.image.astype(np.float64), phantom.affine)
    return folder, True
