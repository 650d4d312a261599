"""The dataset's folder: whose it is, what is done in it, and the JSON files that complete it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.cases.raw_dataset import Record, write_json
from nnunet_kits.conversion.case_conversion import RECORDS, workshop
from nnunet_kits.conversion.cases import case_number
from nnunet_kits.conversion.dataset_json import dataset_json
from nnunet_kits.conversion.schemes import BY_NUMBER, Folds, make_folds
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.environment import find_dataset
from nnunet_kits.errors import ConversionError

SUBFOLDERS = ("imagesTr", "labelsTr", "imagesTs", RECORDS)


def open_dataset(settings: Settings, here: Collection[str]) -> Path:
    """Make the dataset folder, or open the one that an earlier conversion of the same kind has made.

    Args:
        settings: names the folder.
        here: names of the cases that are about to be converted; they may hold another aggregation so far.

    Raises:
        ConversionError: the number is taken, the folder is somebody else's, holds another edition, or cannot be made.
    """
    dataset = settings.dataset
    taken = find_dataset(settings.raw, settings.number)
    if taken is not None and taken != dataset:
        raise ConversionError(
            f"The dataset number {settings.number} is taken by {taken}. "
            "Choose another with --dataset-id, or move that folder."
        )
    ours = (dataset / RECORDS).is_dir()
    if dataset.exists() and not ours and (not dataset.is_dir() or any(dataset.iterdir())):
        raise ConversionError(
            f"{dataset} exists and was not made by this converter, so it is left alone. "
            "Choose another --dataset-id, or move that folder."
        )
    for name, record in workshop(dataset).all_finished().items():
        other_edition = record["edition"] != settings.release.edition
        other_label_map = record["aggregation"] != settings.joined_by and name not in here
        if (other_edition or other_label_map) and case_number(name) not in settings.exclude:
            raise ConversionError(
                f"{dataset} holds {name} of {_kind(record['edition'], record['aggregation'])}, which is never mixed "
                f"with {_kind(settings.release.edition, settings.joined_by)}. "
                "Choose another --dataset-id, or remove that folder."
            )
    try:
        for folder in SUBFOLDERS:
            (dataset / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConversionError(
            f"{dataset} cannot be made ({error.strerror}). Set nnUNet_raw to a folder you may write to."
        ) from error
    return dataset


def complete(settings: Settings, dataset: Path, skipped: dict[str, str]) -> tuple[dict[str, Record], Folds]:
    """Drop the cases that were excluded, then write splits_final.json, conversion.json and dataset.json.

    Args:
        settings: of this conversion.
        dataset: the folder.
        skipped: case -> why it was left out. What an earlier run made of it is kept, if it is of the same kind.

    Returns:
        The records of all cases in the dataset, and how its training cases are split.

    Raises:
        ConversionError: no training case is left, the splits do not fit the cases, or a file cannot be written.
    """
    try:
        room = workshop(dataset)
        records = room.all_finished()
        left_out = {f"case_{number:05d}" for number in settings.exclude} | set(skipped)
        for name in left_out:
            kept = records.get(name)
            if kept is None or name not in skipped or kept["aggregation"] != settings.joined_by:
                records.pop(name, None)
                room.remove(name)
        room.remove_left_overs()
        training = [name for name, record in records.items() if record["set"] == "training"]
        if not training:
            why = f" The first of {len(skipped)} skipped: {next(iter(skipped.values()))}" if skipped else ""
            raise ConversionError(f"{settings.source}: no training case was converted.{why}")
        folds = make_folds(training, settings.splits, settings.hold_out, settings.folds, left_out)
        name = dataset.name.split("_", 1)[1]
        write_json(dataset / "splits_final.json", folds.splits)
        write_json(dataset / "conversion.json", _summary(settings, skipped, folds, records))
        write_json(dataset / "dataset.json", dataset_json(settings.release, name, settings.label_mode, len(training)))
    except OSError as error:
        raise ConversionError(
            f"{dataset} cannot be written ({error.strerror}). The finished cases are kept: run the same command again."
        ) from error
    return records, folds


def _summary(settings: Settings, skipped: dict[str, str], folds: Folds, records: dict[str, Record]) -> dict[str, Any]:
    """The content of conversion.json."""
    release = settings.release
    split: dict[str, Any] = {} if settings.splits == BY_NUMBER else {"splits": settings.splits}
    if settings.splits != BY_NUMBER or settings.hold_out is not None:
        split["held_out"] = folds.held_out
    return {
        "converter": f"nnunet_kits {__version__}",
        "edition": release.edition,
        "source": str(settings.source.resolve()),
        "url": release.url,
        "licence": release.licence,
        "labels": settings.label_mode,
        "aggregation": settings.joined_by,
        "mode": settings.mode,
        "folds": settings.folds if settings.splits == BY_NUMBER else len(folds.splits),
        **split,
        "moved_to_fill_folds": folds.moved,
        "excluded": [f"case_{number:05d}" for number in sorted(settings.exclude)],
        "known_bad": {f"case_{number:05d}": reason for number, reason in release.known_bad.items()},
        "skipped": skipped,
        "cases": records,
    }


def _kind(edition: str, aggregation: str | None) -> str:
    return f"{edition} ({aggregation})" if aggregation else edition
