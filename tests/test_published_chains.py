"""Each published system from a raw tree to its report, by the very commands of its recipe, made small by --smoke.

Others read the models of a first stage, so that is trained in both folds; where many are trained, the rest in one.
"""

import csv
import shlex

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.training.logging.nnunet_logger import MetaLogger
from typed import type_line

from nnunet_kits.architectures import pretrained
from nnunet_kits.phantom import write_tree
from nnunet_kits.recipes import RunSettings, environment_of, load_recipe
from nnunet_kits.recipes.names import dataset_of
from nnunet_kits.recipes.run_checks import checked_steps
from nnunet_kits.releases import RELEASES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:invalid value encountered:RuntimeWarning",  # nnU-Net divides 0 by 0 for a class that no patch shows
        "ignore:Mean of empty slice:RuntimeWarning",
    ),
]


@pytest.fixture
def world(nnunet, monkeypatch):
    """nnU-Net's empty folders. nnU-Net draws no pictures, an encoder is a small one."""
    monkeypatch.chdir(nnunet)
    monkeypatch.setattr(MetaLogger, "plot_progress_png", lambda *_: None)
    monkeypatch.setattr(pretrained, "ENCODER", "mobilenet_v2")  # a ResNet34's checkpoints are 300 MB each
    return nnunet


@pytest.mark.parametrize(
    ("name", "folds", "cases"),
    [
        ("kits19_zhang_resunet", None, [0, 1, 2, 3, 4]),
        ("kits21_beheshtifard_resnet34", None, [4]),  # held out
        ("kits19_chenjin_unet2d", None, [4]),
        ("kits21_george_cascade", (0,), [1, 3, 4]),  # validated in fold 0
        ("kits23_chenzhang_25d", None, [1, 3, 4]),
    ],
)
def test_a_system_runs_from_a_raw_tree_to_its_report_by_the_commands_of_its_recipe(
    world, monkeypatch, name, folds, cases
):
    recipe = load_recipe(name)
    write_tree(world / "kits", recipe.release, cases=5, size="tiny")
    settings = RunSettings(world, world / "kits", folds, device="cpu", smoke=True)
    for variable, value in environment_of(settings).items():
        monkeypatch.setenv(variable, value)
    for step in checked_steps(recipe, settings):
        type_line(shlex.join(step.command))
    run = settings.folder(name)
    found = sorted(file.name for file in (run / "predicted").glob("case_*.nii.gz"))
    assert found == [f"case_{number:05d}.nii.gz" for number in cases]
    for file in found:
        image = nib.load(world / "nnUNet_raw" / dataset_of(recipe) / "imagesTr" / f"{file[:10]}_0000.nii.gz")
        labels = nib.load(run / "predicted" / file)
        assert labels.shape == image.shape
        assert np.allclose(labels.affine, image.affine, atol=1e-4)
        assert set(np.unique(np.asarray(labels.dataobj))) <= {0, *RELEASES[recipe.release].labels}
    with (run / "evaluation" / "evaluation.csv").open() as file:
        names, *scores = zip(*(row.values() for row in csv.DictReader(file)), strict=True)
    assert sorted(f"{case}.nii.gz" for case in names if case.startswith("case")) == found
    assert all(0 <= float(score) <= 1 for column in scores for score in column)
    assert (run / "measures" / "measures.csv").is_file()
    assert (run / "report.html").is_file()
    for member in recipe.evaluation.alone:
        assert (run / "members" / member / "tables.csv").is_file()
