"""A published system's trainer through stock commands: trained and validated on regions, then unseen data predicted."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from line import QUICK, World
from small_data import CASES, FORMS, small_plans

pytestmark = pytest.mark.slow
DATASET, TRAINER = FORMS["regions"][0], "ZhangResUNetTrainer_1epochs"


@pytest.fixture(scope="module")
def world(small_datasets, tmp_path_factory):
    """The small dataset with regions in folders of its own, planned for batches of six."""
    made = World(tmp_path_factory.mktemp("commands"))
    for folder in ("nnUNet_raw", "nnUNet_preprocessed"):
        shutil.copytree(small_datasets / folder / DATASET, made.root / folder / DATASET)
    few = {"num_iterations_per_epoch": 2, "num_val_iterations_per_epoch": 1, "mirror_axes": [2]}
    plans = small_plans("regions", batch_size=6, kits_training=few)
    (made.root / "nnUNet_preprocessed" / DATASET / "SmallPlans.json").write_text(json.dumps(plans))
    images = made.root / "new"
    images.mkdir()
    image = f"{CASES[-1]}_0000.nii.gz"
    shutil.copy(made.root / "nnUNet_raw" / DATASET / "imagesTr" / image, images)
    return made


def test_a_published_system_trains_validates_and_predicts_through_stock_commands(world):
    names = ("-p", "SmallPlans", "-tr", TRAINER)
    output = world.run("nnUNetv2_train", 221, "3d_fullres", 0, *names, "-device", "cpu")
    assert "Mean Validation Dice" in output
    model = world.root / "nnUNet_results" / DATASET / f"{TRAINER}__SmallPlans__3d_fullres"
    world.run("nnunet_kits", "evaluate", "--model", model, "--year", 23)
    ours = json.loads((model / "evaluation" / "metrics.json").read_text())
    stock = json.loads((model / "fold_0" / "validation" / "summary.json").read_text())
    theirs = {region: found["Dice"] for region, found in stock["mean"].items()}
    for region, labels in (("kidney_and_mass", "(1, 2, 3)"), ("tumor", "2")):
        assert ours["mean"]["dice"][region] == pytest.approx(theirs[labels])
    assert ours["notes"] == ["nothing of fold_1: the means are over 1 of 2 folds."]
    predicted = world.root / "predicted"
    given = ("-i", world.root / "new", "-o", predicted, "-d", 221, "-c", "3d_fullres", "-f", 0)
    world.run("nnUNetv2_predict", *given, *names, *QUICK)
    found = nib.load(predicted / f"{CASES[-1]}.nii.gz")
    assert found.shape == nib.load(world.root / "new" / f"{CASES[-1]}_0000.nii.gz").shape
    assert set(np.unique(np.asarray(found.dataobj))) <= {0, 1, 2, 3}
