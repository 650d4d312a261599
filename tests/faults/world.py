"""A small world in which every verb has something to do, and what a verb left behind in it."""

import csv
import hashlib
import io
import json
import pickle
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import nibabel as nib
import numpy as np
from kits_trees import image_of, labels_of, make_tree, save
from raw_datasets import NAMES, write_dataset, write_rule
from small_models import plans_with, write_model_folder
from small_plans import CLASSES, dataset_json

CASES = ("case_00000", "case_00001", "case_00002")
VICTIM = CASES[1]
MODEL = "nnUNet_results/Dataset220_KiTS2023/ResUNetTrainer__SmallPlans__3d_fullres"
RAW = "nnUNet_raw/Dataset221_KiTS2023Small"


def build(root: Path) -> Path:
    """Everything that the verbs read; nothing writes into it again."""
    make_tree(root / "kits", "23", training=(0, 1, 2))
    for number, case in enumerate(CASES):
        save(root / "cts" / f"{case}_0000.nii.gz", image_of(number).astype(np.int16))
        save(root / "labels" / f"{case}.nii.gz", labels_of(number, "23"))
        save(root / "references" / f"{case}.nii.gz", labels_of(number, "23", 1))
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir()
    write_dataset(root / "nnUNet_raw", Path(RAW).name)
    plans = plans_with(
        patch=(16, 16, 16), kits_training={"num_iterations_per_epoch": 1, "num_val_iterations_per_epoch": 1}
    )
    write_model_folder(root / "nnUNet_results", plans, "3d_fullres", labels=CLASSES)
    prepared = root / "nnUNet_preprocessed" / Path(RAW).name
    prepared.mkdir()
    (prepared / "SmallPlans.json").write_text(json.dumps({**plans, "dataset_name": Path(RAW).name}))
    (prepared / "dataset.json").write_text(json.dumps(dataset_json(CLASSES)))
    (prepared / "dataset_fingerprint.json").write_text("{}")  # copied by trainings, not read
    shutil.copy(root / RAW / "splits_final.json", prepared)
    write_rule(root / "rule.json", preparation={"region": {"margin_voxels": [1, 1, 1]}})
    (root / "chain.json").write_bytes((Path(__file__).parents[2] / CHAIN).read_bytes())
    return root


CHAIN = "nnunet_kits/postprocessing/chains/clean.json"


@dataclass(frozen=True)
class Job:
    """One verb at work.

    Attributes:
        line: its arguments, relative to the world.
        victim: the file that is changed.
        kind: ``labels`` or ``scan``.
        members: whether the other cases' results are kept where one case is bad.
    """

    line: str
    victim: str
    kind: str
    members: bool = False


JOBS: dict[str, Job] = {
    "convert a scan": Job("convert --year 23 kits -np 1", f"kits/dataset/{VICTIM}/imaging.nii.gz", "scan"),
    "convert labels": Job("convert --year 23 kits -np 1", f"kits/dataset/{VICTIM}/segmentation.nii.gz", "labels"),
    "derive from a scan": Job(
        "derive -d 221 -o 222 --rule rule.json --masks reference -np 1", f"{RAW}/imagesTr/{VICTIM}_0000.nii.gz", "scan"
    ),
    "derive from labels": Job(
        "derive -d 221 -o 222 --rule rule.json --masks reference -np 1", f"{RAW}/labelsTr/{VICTIM}.nii.gz", "labels"
    ),
    "preprocess a scan": Job(
        "preprocess -d 221 -p SmallPlans -c 3d_fullres -np 1", f"{RAW}/imagesTr/{VICTIM}_0000.nii.gz", "scan"
    ),
    "preprocess labels": Job(
        "preprocess -d 221 -p SmallPlans -c 3d_fullres -np 1", f"{RAW}/labelsTr/{VICTIM}.nii.gz", "labels"
    ),
    "predict": Job(
        f"predict -i cts -o out --fine {MODEL} --no-mirroring --device cpu", f"cts/{VICTIM}_0000.nii.gz", "scan", True
    ),
    "postprocess": Job("postprocess labels out --chain chain.json", f"labels/{VICTIM}.nii.gz", "labels", True),
    "evaluate predictions": Job(
        "evaluate labels references --year 23 -o out -np 1", f"labels/{VICTIM}.nii.gz", "labels"
    ),
    "evaluate references": Job(
        "evaluate labels references --year 23 -o out -np 1", f"references/{VICTIM}.nii.gz", "labels"
    ),
    "measure labels": Job("measure labels --images cts -o out", f"labels/{VICTIM}.nii.gz", "labels", True),
    "measure a scan": Job("measure labels --images cts -o out", f"cts/{VICTIM}_0000.nii.gz", "scan", True),
    "report labels": Job(
        "report --images cts --predictions labels -o report.html", f"labels/{VICTIM}.nii.gz", "labels"
    ),
    "report a scan": Job(
        "report --images cts --predictions labels -o report.html", f"cts/{VICTIM}_0000.nii.gz", "scan"
    ),
    "report references": Job(
        "report --images cts --predictions labels --references references --year 23 -o report.html",
        f"references/{VICTIM}.nii.gz",
        "labels",
    ),
}

JSON_VICTIMS: dict[str, tuple[str, ...]] = {
    f"{MODEL}/plans.json": ("predict",),
    f"{MODEL}/dataset.json": ("predict",),
    f"{RAW}/dataset.json": ("derive from a scan", "preprocess a scan"),
    f"{RAW}/splits_final.json": ("derive from a scan", "preprocess a scan"),
    f"nnUNet_preprocessed/{Path(RAW).name}/SmallPlans.json": ("preprocess a scan",),
    f"nnUNet_preprocessed/{Path(RAW).name}/dataset.json": ("preprocess a scan",),
    "rule.json": ("derive from a scan",),
    "chain.json": ("postprocess",),
}
"""A JSON file that people or nnU-Net write -> jobs that read it."""

WRITTEN = {
    "convert a scan": ("nnUNet_raw/Dataset220_KiTS2023/conversion.json", "nnUNet_raw/Dataset220_KiTS2023/dataset.json"),
    "derive from a scan": ("nnUNet_raw/Dataset222_*/derivation.json", "nnUNet_raw/Dataset222_*/dataset.json"),
    "predict": ("out/prediction.json", "out/dataset.json", "out/plans.json"),
    "postprocess": ("out/postprocess.json",),
    "measure labels": ("out/measures.json",),
    "evaluate predictions": ("out/metrics.json",),
    "preprocess a scan": (f"nnUNet_preprocessed/{Path(RAW).name}/SmallPlans_3d_fullres/*.json",),
}
"""Job -> JSON files that it leaves, and reads when it is run again."""

IN_TIME = (
    "seconds",
    "created",
    "date",
    "time",
    "started",
    "finished",
    "version",
    "stamp",
    "sha256",
    "files",
    "key",
    "source",
    "output",
    "input",
    "stored",
)


def without_times(content: Any) -> Any:
    """A document without what is other in every run."""
    if isinstance(content, dict):
        return {key: without_times(value) for key, value in content.items() if not any(word in key for word in IN_TIME)}
    return [without_times(value) for value in content] if isinstance(content, list) else content


def digest(array: np.ndarray, kind: type | None = None) -> str:
    """Of the values as a kind of number, plane by plane: of a volume of 4.5 GB there is no room for a copy."""
    hashed = hashlib.sha256()
    for plane in np.atleast_1d(array.T):
        hashed.update(np.ascontiguousarray(plane, kind))
    return hashed.hexdigest()[:16]


def read_whole(file: Path) -> Any:
    """What a file holds, read to its end; raises where it is half-written."""
    if file.name.endswith((".nii.gz", ".nii")):
        image = nib.load(file)
        array = np.asarray(image.dataobj)
        return array.shape, digest(array, np.float64), image.affine.round(3).tolist()
    if file.suffix == ".b2nd":
        array = blosc2.open(urlpath=str(file), mode="r")[:]
        return array.shape, digest(array)
    text = file.read_bytes()
    if file.suffix == ".json":
        content = json.loads(text)
        # stamps of files are other in every copy of the world
        return (
            [content["settings"], *content["cases"]] if file.name.endswith("_record.json") else without_times(content)
        )
    if file.suffix == ".csv":
        return list(csv.reader(io.StringIO(text.decode(), newline="")))
    if file.suffix == ".pkl":
        return sorted(pickle.loads(text))
    if file.suffix == ".html":
        assert text.rstrip().endswith(b"</html>"), f"{file} has no end"
        made_at = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d")
        return hashlib.sha256(made_at.sub(b"", text)).hexdigest()[:16]
    return None


def results(root: Path, before: set[Path]) -> dict[str, Any]:
    """What a run left: file -> content, of all files that were not there before (relative to the root)."""
    found = {}
    for file in sorted(root.rglob("*")):
        if file.is_file() and file.relative_to(root) not in before and not file.is_symlink():
            assert not file.name.endswith((".tmp", ".part")), f"{file} is left over"
            found[file.relative_to(root).as_posix()] = read_whole(file)
    return found


assert set(CASES) <= set(NAMES)
