"""A whole raw dataset made of another one, resumable."""

import functools
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.cases.memory import fitting_workers
from nnunet_kits.cases.parallel import run_or_skip
from nnunet_kits.cases.raw_dataset import Record, write_json
from nnunet_kits.cases.splits import SPLITS_FILE, Split, held_out, listed
from nnunet_kits.derivation.case import RECORD_FORMAT, RECORDS, Case, Job, derive_case, request, workshop
from nnunet_kits.derivation.label_change import LabelChange, label_change
from nnunet_kits.derivation.masks import find_masks, without_mask
from nnunet_kits.derivation.record import FILE
from nnunet_kits.derivation.settings import Settings
from nnunet_kits.derivation.source import Source, open_source
from nnunet_kits.environment import find_dataset
from nnunet_kits.errors import DerivationError, ImageError
from nnunet_kits.images import read_grid
from nnunet_kits.preparation.preparation import Preparation

SUBFOLDERS = ("imagesTr", "labelsTr", "imagesTs", RECORDS)

KEPT_FACTS = ("channel_names", "overwrite_image_reader_writer", "reference", "url", "licence", "release")
"""What the derived dataset.json says as the source's does."""

BYTES_BEFORE, BYTES_AFTER, BYTES_BESIDE = 7, 9, 200_000_000
"""Of memory for each voxel of the scan, for each of the derived one, and beside them."""

SMALL_VOXELS = 20_000_000
"""Below this many voxels in all, starting workers costs more than it saves."""


@dataclass(frozen=True)
class Derivation:
    """What a derivation made.

    Attributes:
        dataset: the new ``DatasetNNN_Name`` folder.
        cases: name -> record, of all cases in the dataset.
        derived: how many of them this run derived; the others were done before.
        skipped: case -> why it was left out.
        notes: what the user should know, though it is no error; one line each.
    """

    dataset: Path
    cases: dict[str, Record]
    derived: int
    skipped: dict[str, str]
    notes: list[str]

    def of_set(self, name: str) -> list[str]:
        """Names of the cases of a set, ``training`` or ``test``."""
        return [case for case, record in self.cases.items() if record["set"] == name]


def derive(settings: Settings) -> Derivation:
    """Derive a dataset, or what an earlier run has left of it.

    Each case is written whole or not at all; splits_final.json, derivation.json and dataset.json come last. With more
    than one worker, a script that calls this needs ``if __name__ == "__main__":``.

    Raises:
        DerivationError: a bad source, rule, mask or target; a source that has changed. Cases finished before are kept.
        ImageError: two files of one case, or no such folder of masks.
    """
    rule = settings.rule
    source = open_source(settings.raw, settings.source_id)
    change = label_change(rule, source.labels, source.folder.name)
    cases, skipped, notes = _cases(settings, source)
    dataset = _open_dataset(settings, source)
    asked = {"format": RECORD_FORMAT, "rule": rule.name, "digest": _digest(settings, source, change)}
    job = Job(dataset, rule.preparation, change, source.reader, asked, settings.whole_if_empty)
    todo = _to_do(settings, job, cases)
    if todo:
        for name in ("dataset.json", FILE):  # nothing takes a dataset that is being changed for a whole one
            (dataset / name).unlink(missing_ok=True)
    workers = settings.workers or default_workers(todo, rule.preparation)
    tolerated = DerivationError if settings.skip_bad else None
    tasks = {case.name: case for case in todo}
    done, failed = run_or_skip(functools.partial(derive_case, job), tasks, workers, "derive", tolerated)
    skipped |= failed
    records = _complete(settings, source, job, {case.name for case in cases}, skipped)
    return Derivation(dataset, records, len(done), skipped, notes + _notes(source, change, records))


def default_workers(cases: Iterable[Case], preparation: Preparation) -> int:
    """As many workers as there are free CPUs, as the largest case leaves memory for, and as there are cases."""
    shapes = [_shape(case.image) for case in cases]
    voxels = [math.prod(shape) for shape in shapes]
    if sum(voxels) < SMALL_VOXELS:
        return 1
    needs = [
        BYTES_BEFORE * before + BYTES_AFTER * math.prod(preparation.size_of(shape)) + BYTES_BESIDE
        for before, shape in zip(voxels, shapes, strict=True)
    ]
    return fitting_workers(len(needs), max(needs))


def _shape(image: Path) -> tuple[int, int, int]:
    """Voxels by the header, as stored; none for a file that cannot be read, which its derivation will report."""
    try:
        return read_grid(image).shape
    except ImageError:
        return 0, 0, 0


def _cases(settings: Settings, source: Source) -> tuple[list[Case], dict[str, str], list[str]]:
    """The cases to derive, those that are left out and why, and what the user should know."""
    every = [Case(name, image, label) for name, (image, label) in source.training.items()]
    every += [Case(name, image, None) for name, image in source.test.items()]
    if not settings.rule.preparation.needs_mask:
        return every, {}, []
    if settings.by_reference:
        left = [case.name for case in every if case.label is None]
        note = f"Left out, because they have no reference to take a mask from: {', '.join(left)}."
        return [case for case in every if case.label is not None], {}, [note] if left else []
    places = [Path(place).expanduser() for place in settings.masks]
    masks = find_masks(places, settings.raw)
    skipped = without_mask([case.name for case in every], masks, places)
    if skipped and not settings.skip_bad:
        more = f" {len(skipped) - 1} more cases lack one." if len(skipped) > 1 else ""
        raise DerivationError(next(iter(skipped.values())) + more)
    return [Case(c.name, c.image, c.label, masks[c.name]) for c in every if c.name in masks], skipped, []


def _digest(settings: Settings, source: Source, change: LabelChange) -> str:
    """Changes when the same files would become others."""
    parts = [
        settings.rule.preparation.as_json(),
        change.table.tolist(),
        settings.by_reference,
        source.reader,
    ]
    if settings.whole_if_empty:  # said only then: so records of before stay good
        parts.append("whole if empty")
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _open_dataset(settings: Settings, source: Source) -> Path:
    """Make the dataset folder, or open the one that an earlier run has made.

    Raises:
        DerivationError: the number is taken, the folder is somebody else's, or cannot be made.
    """
    dataset = settings.dataset(source.folder)
    taken = find_dataset(settings.raw, settings.new_id)
    if taken is not None and taken != dataset:
        raise DerivationError(
            f"The dataset number {settings.new_id} is taken by {taken}. Choose another with -o, or move that folder."
        )
    ours = (dataset / RECORDS).is_dir()
    if dataset.exists() and not ours and (not dataset.is_dir() or any(dataset.iterdir())):
        raise DerivationError(
            f"{dataset} exists and was not derived, so it is left alone. Choose another number with -o, or move it."
        )
    try:
        for folder in SUBFOLDERS:
            (dataset / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DerivationError(
            f"{dataset} cannot be made ({error.strerror}). Set nnUNet_raw to a folder you may write to."
        ) from error
    return dataset


def _to_do(settings: Settings, job: Job, cases: list[Case]) -> list[Case]:
    """The cases that are not done.

    Raises:
        DerivationError: one that is done of other files or in another way, without ``overwrite``.
    """
    room, todo = workshop(job.dataset), []
    before = room.all_finished()
    if not settings.overwrite:
        for name, record in before.items():
            _check_rule(job, name, record)
        gone = sorted(set(before) - {case.name for case in cases})
        if gone:
            raise DerivationError(
                f"{job.dataset}: holds {gone[0]}, which its source no longer has, or no mask is there of. "
                "Pass --overwrite to drop such cases, or choose another number with -o."
            )
    for case in cases:
        done, asked = before.get(case.name), request(job, case)
        if done is None or any(done.get(key) != value for key, value in asked.items()):
            todo.append(case)
        if done is not None and not settings.overwrite:
            _check_sources(case.name, done["sources"], asked["sources"])
    return todo


def _check_rule(job: Job, name: str, record: Record) -> None:
    if record.get("digest") != job.asked["digest"]:
        raise DerivationError(
            f"{job.dataset}: holds {name} derived by {record.get('rule')} in another way than is asked for now "
            f"({job.asked['rule']}). Choose another number with -o, or pass --overwrite to derive all of it again."
        )


def _check_sources(name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    for what in sorted(set(before) | set(now)):
        if before.get(what) != now.get(what):
            path = (now.get(what) or before[what])["path"]
            raise DerivationError(
                f"{name}: its {what} {path} has changed since the case was derived. Pass --overwrite to derive such "
                "cases again, or choose another number with -o."
            )


def _complete(settings: Settings, source: Source, job: Job, cases: set[str], skipped: dict[str, str]) -> dict[str, Any]:
    """Drop what is not of this source, then write splits_final.json, derivation.json and dataset.json.

    Raises:
        DerivationError: no training case is left, or a file cannot be written.
    """
    try:
        room = workshop(job.dataset)
        records = room.all_finished()
        for name in [name for name in records if name not in cases or name in skipped]:
            room.remove(name)
            del records[name]
        room.remove_left_overs()
        training = [name for name, record in records.items() if record["set"] == "training"]
        if not training:
            why = f" The first of {len(skipped)} left out: {next(iter(skipped.values()))}" if skipped else ""
            raise DerivationError(f"{source.folder}: no training case was derived.{why}")
        if source.splits is not None:
            write_json(job.dataset / SPLITS_FILE, _splits(source.splits, set(training)))
        write_json(job.dataset / FILE, _summary(settings, source, job, skipped, records))
        write_json(job.dataset / "dataset.json", _dataset_json(settings, source, job, len(training)))
    except OSError as error:
        raise DerivationError(
            f"{job.dataset} cannot be written ({error.strerror}). The finished cases are kept: run the same command "
            "again."
        ) from error
    return records


def _splits(folds: list[Split], there: set[str]) -> list[Split]:
    """The source's folds without the cases that were left out."""
    return [{part: [case for case in cases if case in there] for part, cases in fold.items()} for fold in folds]


def _summary(
    settings: Settings, source: Source, job: Job, skipped: dict[str, str], records: dict[str, Record]
) -> dict[str, Any]:
    """The content of derivation.json."""
    back = job.change.back
    return {
        "deriver": f"nnunet_kits {__version__}",
        "source": str(source.folder.resolve()),
        "rule": {"name": settings.rule.name, **settings.rule.as_json()},
        "masks": list(settings.masks),
        "labels_back": {str(value): int(back[value]) for value in range(256) if back[value]},
        "skipped": skipped,
        "cases": records,
    }


def _dataset_json(settings: Settings, source: Source, job: Job, training_cases: int) -> dict[str, Any]:
    """The content of dataset.json."""
    rule = settings.rule
    return {
        **job.change.content,
        "numTraining": training_cases,
        "file_ending": ".nii.gz",
        "name": job.dataset.name.split("_", 1)[1],
        "description": f"{source.folder.name}, derived by {rule.name}: {rule.summary}",
        "derived_by": f"nnunet_kits {__version__}",
        **{key: source.content[key] for key in KEPT_FACTS if key in source.content},
    }


def _notes(source: Source, change: LabelChange, records: dict[str, Record]) -> list[str]:
    """What the user should know, though it is no error."""
    training = {name: record for name, record in records.items() if record["set"] == "training"}
    notes = []
    if source.splits is None:
        notes.append(
            f"{source.folder.name} has no {SPLITS_FILE}, so nnU-Net will draw folds of its own for the new dataset."
        )
    else:
        if apart := held_out(source.splits, training):
            notes.append(f"In no fold, as in {source.folder.name}: {listed(apart)}.")
        for fold, split in enumerate(_splits(source.splits, set(training))):
            notes += [f"Fold {fold} has no case left under {part!r}." for part in split if not split[part]]
    nothing = {"0", str(change.content["labels"].get("ignore", 0))}
    empty = [name for name, record in training.items() if set(record["voxels_per_label"]) <= nothing]
    if empty:
        notes.append(f"No voxel is labelled in {', '.join(empty)}.")
    return notes
