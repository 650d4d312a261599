"""Preprocessing a dataset: the files that nnUNetv2_preprocess would write, resumable, with workers that fit memory."""

import functools
import glob
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_kits.atomic import atomic_path
from nnunet_kits.cases.memory import check_memory, fitting_workers
from nnunet_kits.cases.parallel import run_all, with_progress
from nnunet_kits.cases.records import Record, read_record, stamp
from nnunet_kits.environment import find_dataset, nnunet_folder
from nnunet_kits.errors import KitsError, PreprocessingError
from nnunet_kits.nnunet_files import read_dataset_json, read_plans
from nnunet_kits.preprocessing.memory import bytes_needed, default_workers
from nnunet_kits.preprocessing.preprocessor import FastPreprocessor
from nnunet_kits.preprocessing.record import ENDINGS, is_whole, remove_case, settings_digest
from nnunet_kits.resampling.scheme import NO_RESAMPLING, Kind, planned_scheme

logger = logging.getLogger(__name__)

Files = dict[str, dict[str, Any]]
"""Case -> ``images``, a path a channel, and ``label``."""


@dataclass(frozen=True)
class Dataset:
    """A converted and planned dataset.

    Attributes:
        raw: its folder in nnUNet_raw.
        preprocessed: its folder in nnUNet_preprocessed.
        plans: the plans file there.
        content: its dataset.json there, which decides over labels as nnU-Net has it.
        files: of every training case.
    """

    raw: Path
    preprocessed: Path
    plans: Path
    content: dict[str, Any]
    files: Files


@dataclass(frozen=True)
class Task:
    """One case to preprocess: everything a worker needs."""

    case: str
    images: list[str]
    label: str
    folder: Path
    plans: Path
    configuration: str
    dataset_json: Path
    codec: str


@dataclass(frozen=True)
class Outcome:
    """What was done for one configuration.

    Attributes:
        folder: of the arrays.
        made: cases preprocessed now.
        kept: cases that were there.
        workers: processes that did it; 0 where there was nothing to do.
    """

    configuration: str
    folder: Path
    made: int
    kept: int
    workers: int


def preprocess_dataset(
    dataset_id: int,
    plans_name: str,
    configurations: Sequence[str] | None = None,
    workers: int | None = None,
    codec: str = "lz4hc",
) -> list[Outcome]:
    """Preprocess configurations of a dataset, and copy its label maps to ``gt_segmentations``.

    Args:
        dataset_id: number of the dataset.
        plans_name: name of its plans, without ``.json``.
        configurations: names; None for all in the plans.
        workers: processes; None for as many as CPUs and free memory allow.
        codec: of :data:`nnunet_kits.preprocessing.preprocessor.CODECS`.

    Raises:
        PreprocessingError: dataset, plans or configuration not found, a case failed, or memory is short.
    """
    dataset = open_dataset(dataset_id, plans_name)
    manager = PlansManager(str(dataset.plans))
    names = list(manager.available_configurations) if configurations is None else list(configurations)
    unknown = [name for name in names if name not in manager.available_configurations]
    if unknown:
        known = ", ".join(manager.available_configurations)
        raise PreprocessingError(f"{dataset.plans}: no configuration {unknown[0]!r}. It has {known}.")
    done: dict[str, Outcome] = {}
    for name in names:
        identifier = manager.get_configuration(name).data_identifier
        if identifier in done:
            logger.info(f"{name} uses the data of {done[identifier].configuration}.")
        else:
            done[identifier] = _preprocess(dataset, manager, name, workers, codec)
    copy_labels(dataset)
    return list(done.values())


def open_dataset(dataset_id: int, plans_name: str) -> Dataset:
    """Find a dataset's folders, plans and cases.

    Raises:
        PreprocessingError: one of them is missing.
    """
    raw = find_dataset(nnunet_folder("nnUNet_raw"), dataset_id)
    if raw is None:
        raise PreprocessingError(
            f"{nnunet_folder('nnUNet_raw')}: no dataset {dataset_id:03d}. Run nnunet_kits convert first."
        )
    preprocessed = nnunet_folder("nnUNet_preprocessed") / raw.name
    plans = preprocessed / f"{plans_name}.json"
    if not plans.is_file():
        known = sorted(file.stem for file in preprocessed.glob("*Plans*.json"))
        raise PreprocessingError(
            f"{plans}: no such plans; found: {', '.join(known) or 'none'}. Run nnunet_kits plan -d {dataset_id} first."
        )
    read_plans(plans, PreprocessingError, f"Run nnunet_kits plan -d {dataset_id} again.", complete=True)
    content, of_raw = (
        read_dataset_json(folder / "dataset.json", PreprocessingError, "Convert and plan it again.")
        for folder in (preprocessed, raw)
    )
    for folder, described in ((preprocessed, content), (raw, of_raw)):
        if not described.get("file_ending") or not (described.get("channel_names") or described.get("modality")):
            raise PreprocessingError(
                f"{folder / 'dataset.json'}: file_ending or channel_names is missing. Convert and plan it again."
            )
    _check_entries(raw, of_raw["file_ending"])
    files = get_filenames_of_train_images_and_targets(str(raw), of_raw)
    if not files:
        raise PreprocessingError(f"{raw / 'imagesTr'}: no training case. Run nnunet_kits convert first.")
    return Dataset(raw, preprocessed, plans, content, files)


def _check_entries(raw: Path, ending: str) -> None:
    """Refuse what is named as an image but is no file: nnU-Net leaves such cases out without a word.

    Raises:
        PreprocessingError: naming it.
    """
    for path in sorted((raw / "imagesTr").glob(f"*{glob.escape(ending)}")):
        if not path.is_file():
            what = "a link to nothing" if path.is_symlink() else "a folder" if path.is_dir() else "no file"
            raise PreprocessingError(f"{path}: is {what}, not an image. Convert the case again, or take it away.")


def preprocess_case(task: Task) -> None:
    """Preprocess one case in a folder beside the target, and move its files when they are complete.

    Raises:
        PreprocessingError: naming the case, whatever went wrong with it.
    """
    manager = _plans(task.plans)
    content = json.loads(task.dataset_json.read_text(encoding="utf-8"))
    part = _part(task.folder)
    part.mkdir(exist_ok=True)
    remove_case(part, task.case)
    configuration = manager.get_configuration(task.configuration)
    try:
        FastPreprocessor(task.codec).run_case_save(
            str(part / task.case), task.images, task.label, manager, configuration, content
        )
    except KitsError as error:
        raise PreprocessingError(f"{task.case}: {error}") from error
    except Exception as error:  # nnU-Net and its libraries raise any type
        raise PreprocessingError(
            f"{task.case}: {type(error).__name__}: {error}. Its files are {', '.join(task.images)} and {task.label}."
        ) from error
    for ending in ENDINGS:
        os.replace(part / f"{task.case}{ending}", task.folder / f"{task.case}{ending}")


def copy_labels(dataset: Dataset) -> None:
    """Copy label maps that are newer than their copies to ``gt_segmentations``, where validation looks for them."""
    folder = dataset.preprocessed / "gt_segmentations"
    folder.mkdir(exist_ok=True)
    for case, files in dataset.files.items():
        source, copy = Path(files["label"]), folder / f"{case}{dataset.content['file_ending']}"
        if not copy.exists() or source.stat().st_mtime > copy.stat().st_mtime:
            with atomic_path(copy) as temporary:
                shutil.copy2(source, temporary)


def no_equal(configuration: dict[str, Any]) -> list[str]:
    """Which of a configuration's steps only nnU-Net's own functions do, as sentences."""
    found = []
    kinds: tuple[tuple[Kind, str], ...] = (("data", "images"), ("seg", "label maps"))
    for kind, what in kinds:
        name, options = configuration[f"resampling_fn_{kind}"], configuration[f"resampling_fn_{kind}_kwargs"]
        if name != NO_RESAMPLING and planned_scheme(kind, configuration, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0)) is None:
            found.append(
                f"{what} are resampled by nnU-Net's {name}, which has no fast equal for its arguments {options}"
            )
    return found


def _preprocess(
    dataset: Dataset,
    manager: PlansManager,
    name: str,
    workers: int | None,
    codec: str,
) -> Outcome:
    """Preprocess one configuration."""
    found = manager.get_configuration(name)
    folder = dataset.preprocessed / found.data_identifier
    if folder.parent != dataset.preprocessed or folder.name in ("", ".", "..", "gt_segmentations"):
        raise PreprocessingError(
            f"{dataset.plans}: {name} keeps its data in {found.data_identifier!r}, which must be a folder's own name. "
            "Correct its data_identifier."
        )
    if found.preprocessor_name != "DefaultPreprocessor":
        if found.preprocessor_class is None:
            raise PreprocessingError(
                f"{dataset.plans}: {name}: nnU-Net knows no preprocessor {found.preprocessor_name!r}."
            )
        logger.warning(f"{name}: its preprocessor is {found.preprocessor_name}, which nnU-Net runs itself.")
        found.preprocessor_class(verbose=False).run(dataset.raw.name, name, dataset.plans.stem, workers or 1)
        return Outcome(name, folder, len(dataset.files), 0, workers or 1)
    for sentence in no_equal(found.configuration):
        logger.warning(f"{name}: {sentence}.")
    record = _open_record(dataset, manager, found.configuration, folder)
    sources = {case: [*files["images"], files["label"]] for case, files in dataset.files.items()}
    stamps = {case: [stamp(Path(file)) for file in files] for case, files in sources.items()}
    todo = [case for case in stamps if record.cases.get(case) != stamps[case] or not is_whole(folder, case)]
    if not todo:
        return Outcome(name, folder, 0, len(stamps), 0)
    edges = [] if found.configuration["resampling_fn_data"] == NO_RESAMPLING else found.spacing
    needs = {case: bytes_needed(Path(dataset.files[case]["images"][0]), edges) for case in todo}
    check_memory(
        needs, "preprocessing", "Close other programs, or leave the case out of the dataset.", PreprocessingError
    )
    used = default_workers([*needs.values()]) if workers is None else fitting_workers(len(needs), wanted=workers)
    shared = (folder, dataset.plans, name, dataset.preprocessed / "dataset.json", codec)
    tasks = {case: Task(case, dataset.files[case]["images"], dataset.files[case]["label"], *shared) for case in todo}
    with _part_folder(folder):
        for case, _ in with_progress(run_all(preprocess_case, tasks, used), len(tasks), name):
            record.add(case, stamps[case])
    return Outcome(name, folder, len(todo), len(stamps) - len(todo), used)


def _open_record(dataset: Dataset, manager: PlansManager, configuration: dict[str, Any], folder: Path) -> Record:
    """The record to go on with; arrays of other settings and of cases that are gone are deleted, as nnU-Net does."""
    settings = settings_digest(manager.plans, configuration, dataset.content)
    file = dataset.preprocessed / f"{folder.name}_record.json"
    record = Record(file, {"settings": settings}, indent=None)
    before = read_record(file)
    if before is not None and before.get("settings") == settings:
        record.cases.update(before.get("cases", {}))
    else:
        if folder.is_dir() and any(folder.iterdir()):
            logger.warning(f"{folder} is of other settings, or not by this command: all of it is made again.")
            file.unlink(missing_ok=True)
            shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    for left in folder.glob("*.pkl"):
        if left.stem not in dataset.files:
            remove_case(folder, left.stem)
            record.cases.pop(left.stem, None)
    return record


def _part(folder: Path) -> Path:
    """Where the files of a folder are written before they are complete."""
    return folder.with_name(f"{folder.name}.part")


@contextmanager
def _part_folder(folder: Path) -> Iterator[None]:
    """Begin without the remains of a killed run, and leave none."""
    shutil.rmtree(_part(folder), ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(_part(folder), ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _plans(file: Path) -> PlansManager:
    """Looking its classes up takes seconds, so that is done once a process."""
    return PlansManager(str(file))
