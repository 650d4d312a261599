"""Each recipe whole, as a smoke run, from a raw tree of its year to the report, by the very commands of its steps.

An encoder from ImageNet is replaced by a small one: a ResNet34's checkpoints are 300 MB each.
"""

import csv
import json
import shlex

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from typed import type_line

from nnunet_kits.architectures import pretrained
from nnunet_kits.phantom import write_tree
from nnunet_kits.recipes import RunSettings, environment_of, load_recipe, recipe_names, steps_of
from nnunet_kits.releases import RELEASES


@pytest.fixture
def world(nnunet, monkeypatch):
    """nnU-Net's empty folders. nnU-Net draws no pictures, an encoder is a small one."""
    monkeypatch.chdir(nnunet)
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    monkeypatch.setattr(pretrained, "ENCODER", "mobilenet_v2")
    return nnunet


SCORED = {"kits19_chenjin_unet2d": 1, "kits21_beheshtifard_resnet34": 1, "kits23_chenzhang_25d": 3}
"""Recipe -> how many of five cases it scores: those held out, or fold 0's; others score all."""


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:invalid value encountered:RuntimeWarning",  # nnU-Net divides 0 by 0 for a class that no patch shows
    "ignore:Mean of empty slice:RuntimeWarning",
    # where barely trained networks have found no kidney, lesions are looked for in a region that is ignored whole
    "ignore:Warning! No annotated pixels in image!:UserWarning",
)
@pytest.mark.parametrize(
    "name", [name for name in recipe_names() if name not in ("kits19_zhang_plain", "kits19_zhang_preact")]
)
def test_a_recipe_runs_from_a_raw_tree_to_its_report(name, world, monkeypatch):
    recipe = load_recipe(name)
    tree = None if recipe.phantoms else world / "kits"
    if tree is not None:
        write_tree(tree, recipe.release, cases=5, size="tiny")
    run = RunSettings(world, tree, device="cpu", smoke=True)
    for variable, value in environment_of(run).items():
        monkeypatch.setenv(variable, value)
    for step in steps_of(recipe, run):
        type_line(shlex.join(step.command))
    folder = run.folder(name)
    found = {file.name for file in (folder / "predicted").glob("case_*.nii.gz")}
    assert len(found) == SCORED.get(name, 5)
    final = folder / ("postprocessed" if recipe.postprocessing else "predicted")
    assert {file.name for file in final.glob("case_*.nii.gz")} == found
    for file in final.glob("case_*.nii.gz"):
        (image_file,) = world.glob(f"nnUNet_raw/{dataset(recipe)}/imagesTr/{file.name[:10]}_0000.nii.gz")
        image, labels = nib.load(image_file), nib.load(file)
        assert labels.shape == image.shape
        assert np.allclose(labels.affine, image.affine, atol=1e-4)
        assert set(np.unique(np.asarray(labels.dataobj))) <= {0, *RELEASES[recipe.release].labels}
    with (folder / "evaluation" / "evaluation.csv").open() as file:
        names, *scores = zip(*(row.values() for row in csv.DictReader(file)), strict=True)
    assert {f"{case}.nii.gz" for case in names if case.startswith("case")} == found
    assert all(0 <= float(score) <= 1 for column in scores for score in column)
    if recipe.evaluation.cases == "held_out":
        splits = json.loads((world / "nnUNet_raw" / dataset(recipe) / "splits_final.json").read_text())
        seen = {f"{case}.nii.gz" for split in splits for part in split.values() for case in part}
        assert not seen & found
    page = (folder / "report.html").read_text()
    assert all(file[:10] in page for file in found)
    assert (folder / "measures" / "measures.csv").is_file()
    for key in recipe.evaluation.alone:
        assert (folder / "members" / key / "metrics.json").is_file()


def dataset(recipe):
    number = recipe.conversion.dataset_id or RELEASES[recipe.release].dataset_id
    return f"Dataset{number:03d}_{recipe.conversion.name or RELEASES[recipe.release].dataset_name}"
