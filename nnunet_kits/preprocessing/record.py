"""With which settings a folder was preprocessed, and the files of a case."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MATTERS = (
    "preprocessor_name", "patch_size", "spacing", "normalization_schemes", "use_mask_for_norm",
    "resampling_fn_data", "resampling_fn_data_kwargs", "resampling_fn_seg", "resampling_fn_seg_kwargs",
)  # fmt: skip
"""What of a configuration decides over the arrays and how they are cut into chunks."""

MATTERS_IN_PLANS = ("image_reader_writer", "transpose_forward", "foreground_intensity_properties_per_channel")

ENDINGS = (".b2nd", "_seg.b2nd", ".pkl")
"""The files of a case; the last is put in place last."""


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


def is_whole(folder: Path, case: str) -> bool:
    """Whether all files of a case are there."""
    return all((folder / f"{case}{ending}").is_file() for ending in ENDINGS)


def remove_case(folder: Path, case: str) -> None:
    """Delete the files of a case, the one that was written last first."""
    for ending in reversed(ENDINGS):
        (folder / f"{case}{ending}").unlink(missing_ok=True)
