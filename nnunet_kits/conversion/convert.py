"""A whole KiTS folder into ``nnUNet_raw/DatasetNNN_Name``, resumable."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases.parallel import run_or_skip
from nnunet_kits.cases.raw_dataset import Record
from nnunet_kits.conversion.case_conversion import convert_case, request, workshop
from nnunet_kits.conversion.cases import Case, data_folder, find_cases, missing_file
from nnunet_kits.conversion.dataset_folder import complete, open_dataset
from nnunet_kits.conversion.memory import default_workers
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.errors import ConversionError
from nnunet_kits.labels import Label
from nnunet_kits.releases import RELEASES, either


@dataclass(frozen=True)
class Conversion:
    """What a conversion made.

    Attributes:
        dataset: the ``DatasetNNN_Name`` folder.
        cases: name -> record, of all cases in the dataset.
        converted: how many of them this run converted; the others were done before.
        skipped: case -> why it was left out (``skip_bad``).
        notes: what the user should know, though it is no error; one line each.
    """

    dataset: Path
    cases: dict[str, Record]
    converted: int
    skipped: dict[str, str]
    notes: list[str]

    @property
    def training(self) -> list[str]:
        """Names of the cases with labels."""
        return [name for name, record in self.cases.items() if record["set"] == "training"]

    @property
    def test(self) -> list[str]:
        """Names of the cases without."""
        return [name for name, record in self.cases.items() if record["set"] == "test"]


def convert(settings: Settings) -> Conversion:
    """Convert a KiTS folder, or what an earlier run has left of it.

    Each case is written whole or not at all; dataset.json, splits_final.json and conversion.json come last. With more
    than one worker, a script that calls this needs ``if __name__ == "__main__":``.

    Raises:
        ConversionError: a bad source, case or target. Cases finished before are kept.
    """
    release, aggregation = settings.release, settings.joined_by
    cases = find_cases(release, settings.source, aggregation, settings.exclude)
    skipped = {case.name: reason for case in cases if (reason := missing_file(release, case))}
    if skipped and not settings.skip_bad:
        more = f" {len(skipped) - 1} more cases lack a file." if len(skipped) > 1 else ""
        raise ConversionError(next(iter(skipped.values())) + more)
    dataset = open_dataset(settings, {case.name for case in cases})
    todo = [case for case in cases if case.name not in skipped and not _is_done(settings, dataset, case)]
    job = functools.partial(convert_case, release, aggregation, settings.mode, dataset)
    workers = settings.workers or default_workers(todo)
    tolerated = ConversionError if settings.skip_bad else None
    done, failed = run_or_skip(job, {case.name: case for case in todo}, workers, "convert", tolerated)
    skipped |= failed
    records, folds = complete(settings, dataset, skipped)
    return Conversion(dataset, records, len(done), skipped, [*_notes(settings, cases, records), *folds.notes])


def stale_splits(dataset: Path, preprocessed: Path) -> Path | None:
    """The splits_final.json among the preprocessed data, where it differs from the dataset's.

    nnU-Net's planners stop at a difference with a bare AssertionError.
    """
    old = preprocessed / dataset.name / "splits_final.json"
    try:
        now, then = (json.loads(f.read_text(encoding="utf-8")) for f in (dataset / old.name, old))
    except (OSError, ValueError, RecursionError):
        return None
    return old if now != then else None


def _is_done(settings: Settings, dataset: Path, case: Case) -> bool:
    record = workshop(dataset).finished(case.name)
    asked = request(settings.release, case, settings.joined_by, settings.mode)
    return record is not None and all(record.get(key) == value for key, value in asked.items())


def _notes(settings: Settings, cases: Sequence[Case], records: dict[str, Record]) -> list[str]:
    """What the user should know, though it is no error."""
    release = settings.release
    training = {name: record for name, record in records.items() if record["set"] == "training"}
    notes = [
        f"case_{number:05d} is kept, though {reason}. Leave it out with --exclude {number}."
        for number, reason in release.known_bad.items()
        if f"case_{number:05d}" in records
    ]
    empty = [name for name, record in training.items() if set(record["voxels_per_label"]) <= {"0"}]
    if empty:
        notes.append(f"No voxel is labelled in {', '.join(empty)}.")
    cysts = any(str(int(Label.CYST)) in record["voxels_per_label"] for record in training.values())
    if Label.CYST in release.labels and len(training) >= 20 and not cysts:
        likely = either([r.edition for r in RELEASES.values() if Label.CYST not in r.labels])
        notes.append(f"None of {len(training)} cases has a cyst, but half of {release.edition}'s do. Is it {likely}?")
    copied = [name for name, record in records.items() if record["mode"] == "compact" and record["stored"] != "int16"]
    if copied:
        notes.append(f"Copied as they are, because int16 would lose something: {', '.join(copied)}.")
    folder = str(data_folder(release, settings.source).relative_to(settings.source))
    if folder not in (".", *release.data_folders):
        notes.append(
            f"The cases lie in {folder}, where {release.edition} has {release.data_folders[0]}. Is it its data?"
        )
    kept = sorted(set(records) - {case.name for case in cases})
    if kept:
        notes.append(f"Kept from an earlier conversion, though not in this source: {', '.join(kept)}.")
    return notes
