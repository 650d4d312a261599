"""Plans of a preset for usual CTs: nnU-Net's own planner on a fingerprint that is made up, in a process of its own.

nnU-Net takes its folders from the environment when it is imported, so this one's must not be those of the caller.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.costs.usual import Scan
from nnunet_kits.environment import FOLDER_VARIABLES
from nnunet_kits.errors import PlanError
from nnunet_kits.planning.presets import load_preset

HU = {"max": 3000.0, "mean": 100.0, "median": 100.0, "min": -1000.0, "std": 75.0}
HU |= {"percentile_00_5": -60.0, "percentile_99_5": 300.0}
"""Of labelled voxels: any will do, nothing of the cost depends on them."""


@dataclass(frozen=True)
class Job:
    """Something to plan.

    Attributes:
        preset: name or file.
        labels: ``labels``, and ``regions_class_order`` where there are regions, of dataset.json.
        cases: of the dataset.
        scan: each of them.
    """

    preset: str
    labels: Mapping[str, Any]
    cases: int
    scan: Scan


def plans_of(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The plans of each job.

    Raises:
        PlanError: the planner failed; the message ends with its own last line.
    """
    with tempfile.TemporaryDirectory(prefix="nnunet_kits_cost_") as place:
        root = Path(place)
        for number, job in enumerate(jobs, 1):
            _write(root, number, job)
        folders = {name: str(root / name) for name in FOLDER_VARIABLES}
        command = [sys.executable, "-m", __name__, *(job.preset for job in jobs)]
        done = subprocess.run(
            command, env={**os.environ, **folders}, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        if done.returncode:
            last = (done.stderr.strip() or "no word").splitlines()[-1]
            raise PlanError(f"planning {', '.join(job.preset for job in jobs)} for usual CTs failed: {last}")
        return [
            json.loads(_plans_file(root, number, job.preset).read_text(encoding="utf-8"))
            for number, job in enumerate(jobs, 1)
        ]


def _dataset(number: int) -> str:
    return f"Dataset{number:03d}_Usual"


def _plans_file(root: Path, number: int, preset: str) -> Path:
    return root / "nnUNet_preprocessed" / _dataset(number) / f"{load_preset(preset).name}.json"


def _write(root: Path, number: int, job: Job) -> None:
    """A dataset of one scan, without its voxels."""
    raw, preprocessed = (root / name / _dataset(number) for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    (raw / "imagesTr" / "case_00000_0000.nii.gz").touch()
    about = {"channel_names": {"0": "CT"}, "numTraining": job.cases, "file_ending": ".nii.gz"}
    about |= {"overwrite_image_reader_writer": "SimpleITKIO"}
    (raw / "dataset.json").write_text(json.dumps({**about, **job.labels}), encoding="utf-8")
    fingerprint = {"spacings": [job.scan.spacing_mm], "shapes_after_crop": [job.scan.shape]}
    fingerprint |= {
        "foreground_intensity_properties_per_channel": {"0": HU},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint), encoding="utf-8")


def main(presets: Sequence[str]) -> None:
    """Plan dataset 1 by the first preset, 2 by the second, and so on."""
    from nnunet_kits.planning.planner import plan_dataset

    for number, preset in enumerate(presets, 1):
        plan_dataset(number, load_preset(preset))


if __name__ == "__main__":
    main(sys.argv[1:])
