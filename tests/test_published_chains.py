"""Each published system from a raw tree to scores, by the very commands of docs/how-to/run-a-published-system.md.

They run on tiny phantoms with two folds of one epoch of two iterations; of the shipped presets, rules and systems the
sizes are smaller, and so are the presets' networks.
"""

import csv
import json
import re

import nibabel as nib
import numpy as np
import pytest
from conftest import REPOSITORY
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from typed import commands_of, type_line

from nnunet_kits.architectures import pretrained
from nnunet_kits.phantom import write_tree
from nnunet_kits.releases import RELEASES

PAGE = REPOSITORY / "docs" / "how-to" / "run-a-published-system.md"
SHIPPED = {
    "--preset": REPOSITORY / "nnunet_kits" / "planning" / "presets",
    "--rule": REPOSITORY / "nnunet_kits" / "derivation" / "rules",
    "--system": REPOSITORY / "nnunet_kits" / "inference" / "systems",
}
"""Option -> where the files are that it names."""

SMALLER = {
    (3.22, 1.62, 1.62): (16, 14, 14),
    (1.99, 1.99, 1.99): (20, 18, 18),
    (0.78, 0.78, 0.78): (16, 14, 14),
    (0.78162497, 0.78162497): (14, 14),
    (0.78, 0.78): (14, 14),
    (80, 160, 160): (16, 32, 32),
    (128, 128, 128): (16, 32, 32),
    (48, 224, 384): (16, 32, 48),
    (None, 224, 384): (None, 32, 48),
    (224, 224): (32, 32),
    (None, 512, 512): (None, 64, 64),
    (512, 512): (64, 64),
}
"""A list of numbers in a shipped file, a spacing or a size, and the one that stands in its place here."""

FEW = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1, "imagenet_weights": "none"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:invalid value encountered:RuntimeWarning",  # nnU-Net divides 0 by 0 for a class that no patch shows
        "ignore:Mean of empty slice:RuntimeWarning",
    ),
]


@pytest.fixture
def world(nnunet, monkeypatch):
    """nnU-Net's empty folders below a home folder. nnU-Net draws no pictures, an encoder is a small one."""
    monkeypatch.setenv("HOME", str(nnunet))
    monkeypatch.chdir(nnunet)
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    monkeypatch.setattr(pretrained, "ENCODER", "mobilenet_v2")  # a ResNet34's checkpoints are 300 MB each
    return nnunet


def write_phantoms(world, year):
    """A raw tree of the year, and two CTs beside it whose label maps are known."""
    tree = world / f"kits{year}"
    write_tree(tree, year, cases=5, test_cases=2, size="tiny", test_labels=world / "new_labels")
    (world / "new_cts").mkdir()
    for labels in (world / "new_labels").iterdir():
        case = tree / RELEASES[year].data_folders[0] / labels.name.removesuffix(".nii.gz")
        (case / "imaging.nii.gz").rename(world / "new_cts" / f"{case.name}_0000.nii.gz")
        case.rmdir()


def reduced(content):
    """The content of a shipped file with smaller numbers."""
    if isinstance(content, list):
        small = SMALLER.get(tuple(content)) if not any(isinstance(item, list | dict) for item in content) else None
        return [reduced(item) for item in content] if small is None else list(small)
    if not isinstance(content, dict):
        return content
    found = {key: reduced(value) for key, value in content.items()}
    if "patch_size" in found:
        found["kits_training"] = {**found.get("kits_training", {}), **FEW}
        found["batch_size"] = min(found["batch_size"], 7)
    found.update({key: found[key][:3] for key in ("strides", "kernel_sizes", "features") if key in found})
    if "features" in found:
        found["features"] = [4, 8, 8]
    return {**found, "features_first": 4, "features_max": 8} if "features_first" in found else found


def with_reduced_files(world, line):
    """The line with a small file for every shipped one that it names."""
    for option, folder in SHIPPED.items():
        for name in re.findall(rf"{option} (\w+)", line):
            file = world / f"{name}.json"
            file.write_text(json.dumps(reduced(json.loads((folder / f"{name}.json").read_text()))))
            line = line.replace(f"{option} {name}", f"{option} {file}")
    return line


def run_the_page(world, heading):
    """Every command below a heading, reduced: two folds, one epoch, small files, on the CPU."""
    lines = commands_of(PAGE, heading)
    assert lines
    for line in lines:
        line = with_reduced_files(world, line.replace("~", str(world)))
        line = line.replace("in 0 1 2 3 4;", "in 0 1;").replace("--splits kfold_seed42", "--folds 2")
        line = re.sub(r"--splits [\d./-]+", "--splits 0-2/3-3/4-4", line)
        line = re.sub(r"(nnunet_kits convert [^-]*--year \d\d \S+)$", r"\1 --folds 2", line)
        line = re.sub(r"([A-Z][A-Za-z0-9]+Trainer)(?![A-Za-z0-9])", r"\1_1epochs", line)
        line = re.sub(r"(nnUNetv2_(train|predict) [^;]*)", r"\1 -device cpu", line)
        type_line(re.sub(r"(nnunet_kits predict .*)", r"\1 --device cpu", line))


@pytest.mark.parametrize(
    ("heading", "year", "cases"),
    [
        ("Zhang", "19", []),  # the new CTs
        ("Beheshtifard", "21", [4]),  # held out
        ("Chen and Jin", "19", [4]),
        ("George", "21", []),
        ("Chen and Zhang", "23", [1, 3, 4]),  # validated in fold 0
    ],
)
def test_a_system_runs_from_a_raw_tree_to_scores_by_the_commands_of_its_page(world, heading, year, cases):
    write_phantoms(world, year)
    run_the_page(world, heading)
    found = {file.name for file in (world / "predicted").glob("case_*.nii.gz")}
    cases = [f"case_{number:05d}.nii.gz" for number in cases]
    assert sorted(found) == (cases or sorted(file.name for file in (world / "new_labels").iterdir()))
    for name in found:
        (image_file,) = world.glob(
            f"new_cts/{name[:10]}_0000.nii.gz" if not cases else f"nnUNet_raw/*S20??/imagesTr/{name[:10]}_0000.nii.gz"
        )
        image, labels = nib.load(image_file), nib.load(world / "predicted" / name)
        assert labels.shape == image.shape
        assert np.allclose(labels.affine, image.affine, atol=1e-4)
        assert set(np.unique(np.asarray(labels.dataobj))) <= {0, *RELEASES[year].labels}
    with (world / "predicted" / "evaluation.csv").open() as file:
        names, *scores = zip(*(row.values() for row in csv.DictReader(file)), strict=True)
    assert {f"{name}.nii.gz" for name in names if name.startswith("case")} == found
    assert all(0 <= float(score) <= 1 for column in scores for score in column)
