"""What was preprocessed with which settings from which files, so that an interrupted or repeated run goes on."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text

MATTERS = (
    "preprocessor_name", "patch_size", "spacing", "normalization_schemes", "use_mask_for_norm",
    "resampling_fn_data", "resampling_fn_data_kwargs", "resampling_fn_seg", "resampling_fn_seg_kwargs",
)  # fmt: skip
"""What of a configuration decides over the arrays and how they are cut into chunks."""

MATTERS_IN_PLANS = ("image_reader_writer", "transpose_forward", "foreground_intensity_properties_per_channel")

ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")
"""The files of a case; the last is put in place last."""

Stamp = list[list[int]]


@dataclass
class Record:
    """The JSON file beside a folder of preprocessed cases.

    Attributes:
        file: where it is kept.
        settings: a digest of everything that decides over the arrays.
        cases: case -> size and time of the files that it was made from.
    """

    file: Path
    settings: str
    cases: dict[str, Stamp] = field(default_factory=dict)

    def save(self) -> None:
        """Write the file anew, under a temporary name first."""
        write_text(self.file, json.dumps({"settings": self.settings, "cases": self.cases}))


def read_record(file: Path) -> Record | None:
    """The record of earlier runs; None where there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Record(file, str(content["settings"]), dict(content["cases"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def settings_digest(plans: Mapping[str, Any], configuration: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    """A digest of what decides over the arrays.

    Args:
        plans: the plans file.
        configuration: one of its configurations, inheritance resolved.
        dataset: the dataset.json.
    """
    parts = [
        {key: configuration.get(key) for key in MATTERS},
        {key: plans.get(key) for key in MATTERS_IN_PLANS},
        {"labels": dataset.get("labels"), "regions_class_order": dataset.get("regions_class_order")},
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def stamp(files: Iterable[str]) -> Stamp:
    """Size and time of some files; -1 for one that is missing."""
    found = []
    for file in map(Path, files):
        status = file.stat() if file.exists() else None
        found.append([status.st_size, status.st_mtime_ns] if status else [-1, -1])
    return found


def is_whole(folder: Path, case: str) -> bool:
    """Whether all files of a case are there."""
    return all((folder / f"{case}{ending}").is_file() for ending in ENDINGS)


def remove_case(folder: Path, case: str) -> None:
    """Delete the files of a case, the one that was written last first."""
    for ending in reversed(ENDINGS):
        (folder / f"{case}{ending}").unlink(missing_ok=True)
