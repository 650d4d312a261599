"""The promise of the package, through real commands: nnU-Net trains, resumes, validates and predicts with our trainers.

Everything below runs in one small world of eight tiny phantoms, two of them for testing, and two folds.
"""

import json
import shutil
import signal
import time

import nibabel as nib
import numpy as np
import pytest
import torch
from line import PLANS, TRAINER, World

from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.status.folds import read_fold
from nnunet_kits.status.overview import read_overview

pytestmark = pytest.mark.slow
CASCADE = "3d_cascade_fullres"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Phantoms converted, planned and preprocessed."""
    world = World(tmp_path_factory.mktemp("line"))
    phantoms = world.root / "phantoms"
    world.run(*("nnunet_kits", "phantom", phantoms, "--year", 23, "--cases", 6, "--test-cases", 2, "--size", "tiny"))
    world.run("nnunet_kits", "convert", "--year", 23, phantoms, "--folds", 2, "-np", 1)
    world.run("nnUNetv2_extract_fingerprint", "-d", 220, "-np", 1)
    world.run("nnunet_kits", "plan", "-d", 220, "--preset", PLANS)
    world.shorten()
    world.run("nnUNetv2_preprocess", "-d", 220, "-plans_name", PLANS, "-c", "3d_lowres", "3d_fullres", "-np", 1)
    return world


@pytest.fixture(scope="module")
def half_trained(prepared):
    """The first of two low-resolution folds trained and validated."""
    prepared.train("3d_lowres", 0)
    return prepared


@pytest.fixture(scope="module")
def refusal(half_trained):
    """What a cascade says that starts too early."""
    return half_trained.train(CASCADE, 0, fails=True)


@pytest.fixture(scope="module")
def trained(half_trained, refusal):
    """The cascade driven to its end; what the driver printed is kept."""
    driver = ("nnunet_kits", "cascade", "-d", 220, "-p", PLANS, "-tr", TRAINER, "--folds", 0, "--device", "cpu")
    half_trained.dry = half_trained.run(*driver, "--dry-run")
    half_trained.driven = half_trained.run(*driver)
    half_trained.again = half_trained.run(*driver)
    return half_trained


@pytest.fixture(scope="module")
def predicted(trained):
    """Unseen cases predicted through both stages."""
    low, full = trained.root / "low", trained.root / "full"
    trained.predict(low, "3d_lowres", (0, 1))
    trained.predict(full, CASCADE, (0,), "-prev_stage_predictions", low)
    return trained


def fold_of(world, case):
    splits = json.loads((world.preprocessed / "splits_final.json").read_text())
    return next(fold for fold, split in enumerate(splits) if case in split["val"])


def test_the_splits_of_the_conversion_are_the_ones_trained_on(half_trained):
    raw = json.loads((half_trained.raw / "splits_final.json").read_text())
    used = json.loads((half_trained.preprocessed / "splits_final.json").read_text())
    assert raw == used
    predictions = half_trained.model("3d_lowres") / "predicted_next_stage" / CASCADE
    assert sorted(p.stem for p in predictions.glob("*.b2nd")) == sorted(used[0]["val"])


def test_a_cascade_that_starts_too_early_is_refused_before_any_epoch_with_the_commands_that_help(half_trained, refusal):
    cases = [file.name[:10] for file in half_trained.preprocessed.glob("gt_segmentations/*")]
    missing = [case for case in cases if fold_of(half_trained, case) == 1]
    assert f"needs a prediction of {TRAINER}, 3d_lowres, for every case, but {len(missing)} have none" in refusal
    for case in missing:
        assert f"{case}: it has no low-resolution prediction" in refusal
    assert f"nnUNetv2_train 220 3d_lowres 1 -p {PLANS} -tr {TRAINER} " in refusal
    assert "3d_lowres 0" not in refusal
    assert "Epoch 0" not in refusal


def test_the_driver_runs_what_is_left_and_nothing_when_run_again(trained):
    commands = [line for line in trained.dry.splitlines() if line.startswith("nnUNetv2_train")]
    assert [c.split()[2:4] for c in commands] == [["3d_lowres", "1"], [CASCADE, "0"]]
    assert all(f"$ {command}" in trained.driven for command in commands)
    assert "$ nnUNetv2_train" not in trained.again
    for configuration, fold in (("3d_lowres", 1), (CASCADE, 0)):
        folder = trained.model(configuration) / f"fold_{fold}"
        assert (folder / "checkpoint_final.pth").is_file()
        assert (folder / "validation" / "summary.json").is_file()
        assert not (folder / "checkpoint_previous.pth").exists()


def test_val_alone_writes_lost_predictions_again_and_the_driver_asks_for_just_that(trained):
    folder = trained.model("3d_lowres") / "predicted_next_stage" / CASCADE
    lost, damaged = (next(p for p in sorted(folder.glob("*.b2nd")) if fold_of(trained, p.stem) == f) for f in (0, 1))
    before = {file: file.read_bytes() for file in (lost, damaged)}
    lost.unlink()
    damaged.write_bytes(before[damaged][:50])
    driver = ("nnunet_kits", "cascade", "-d", 220, "-p", PLANS, "-tr", TRAINER, "--folds", 0, "--dry-run")
    left = [line for line in trained.run(*driver).splitlines() if line.startswith("nnUNetv2_train")]
    assert [(c.split()[3], c.split()[-1]) for c in left] == [("0", "--val"), ("1", "--val")]
    for fold in (0, 1):
        trained.train("3d_lowres", fold, "--val")
    assert {file: file.read_bytes() for file in before} == before
    assert "nnUNetv2_train" not in trained.run(*driver)


def test_predictions_lie_on_the_grid_of_the_image_and_hold_only_known_labels(predicted):
    images = sorted((predicted.raw / "imagesTs").glob("*.nii.gz"))
    assert len(images) == 2
    for image_file in images:
        image = nib.load(image_file)
        for stage in ("low", "full"):
            result = nib.load(predicted.root / stage / image_file.name.replace("_0000", ""))
            assert result.shape == image.shape
            assert np.allclose(result.affine, image.affine, atol=1e-4)
            assert set(np.unique(np.asarray(result.dataobj))) <= {0, 1, 2, 3}


def test_predicting_from_the_model_folder_gives_the_same(predicted):
    again = predicted.root / "again"
    predicted.run(
        *("nnUNetv2_predict_from_modelfolder", "-i", predicted.raw / "imagesTs", "-o", again),
        *("-m", predicted.model(CASCADE), "-f", 0, "-prev_stage_predictions", predicted.root / "low"),
        *("-device", "cpu", "-npp", 1, "-nps", 1, "--disable_tta", "--disable_progress_bar"),
    )
    for file in again.glob("*.nii.gz"):
        assert np.array_equal(nib.load(file).dataobj, nib.load(predicted.root / "full" / file.name).dataobj)


def test_an_exported_model_is_installed_and_predicts_elsewhere(predicted):
    zipped = predicted.root / "model.zip"
    predicted.run(
        *("nnUNetv2_export_model_to_zip", "-d", 220, "-o", zipped, "-c", "3d_lowres", "-tr", TRAINER, "-p", PLANS),
        *("-f", 0, 1),
    )
    other = World(predicted.root / "elsewhere")
    other.run("nnUNetv2_install_pretrained_model_from_zip", zipped)
    shutil.copytree(predicted.raw / "imagesTs", other.raw / "imagesTs")
    shutil.copy(predicted.raw / "dataset.json", other.raw)
    other.predict(other.root / "low", "3d_lowres", (0, 1))
    for file in (other.root / "low").glob("*.nii.gz"):
        assert np.array_equal(nib.load(file).dataobj, nib.load(predicted.root / "low" / file.name).dataobj)


def test_the_prediction_report_is_made_of_stock_predictions(predicted):
    report = predicted.root / "report.html"
    images = predicted.raw / "imagesTs"
    predicted.run("nnunet_kits", "report", "--images", images, "--predictions", predicted.root / "full", "-o", report)
    assert "case_00589" in report.read_text()


def test_a_killed_training_goes_on_and_a_damaged_checkpoint_is_stepped_over(prepared):
    trainer = "PlainUNetTrainer_AdamWCosine_400epochs"
    prepared.shorten(save_every=1)
    folder = prepared.model("3d_lowres", trainer) / "fold_0"
    process = prepared.start(
        *("nnUNetv2_train", 220, "3d_lowres", 0, "-p", PLANS, "-tr", trainer, "-device", "cpu", "--val_best")
    )
    try:
        deadline = time.monotonic() + 200
        while not (folder / "checkpoint_previous.pth").is_file() and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    latest = folder / "checkpoint_latest.pth"
    latest.write_bytes(latest.read_bytes()[:-1000])
    resumed = prepared.start(
        *("nnUNetv2_train", 220, "3d_lowres", 0, "-p", PLANS, "-tr", trainer, "-device", "cpu", "--c")
    )
    lines = []
    for line in resumed.stdout:
        lines.append(line)
        if line.rstrip().split(": ")[-1].startswith("Epoch ") and "time" not in line:
            break
    resumed.kill()
    resumed.communicate()
    output = "".join(lines)
    assert "checkpoint_latest.pth is damaged: going on from checkpoint_" in output, output[-3000:]
    begun = int(lines[-1].split()[-1])
    assert begun >= 1, "it began again at epoch 0"

    model = ModelFolder.at(folder.parent)
    found = read_fold(model, "0", time.time())
    told = torch.load(folder / "checkpoint_best.pth", weights_only=False)["logging"]
    assert (found.state, found.epochs, found.epochs_done, found.history.begun) == ("running", 400, begun, begun)
    assert read_fold(model, "0", time.time() + 3600).state == "stopped"
    known = range(min(begun, len(told["ema_fg_dice"])))
    assert len(known) >= 1
    ema, seconds = found.history.ema_dice(), found.history.seconds
    assert [ema[epoch] for epoch in known] == pytest.approx([told["ema_fg_dice"][epoch] for epoch in known], abs=1e-3)
    spans = [told["epoch_end_timestamps"][epoch] - told["epoch_start_timestamps"][epoch] for epoch in known]
    assert [seconds[epoch] for epoch in known] == pytest.approx(spans, abs=0.01)


def test_the_folds_of_a_real_cascade_are_finished_with_nnunets_own_scores(trained):
    folds = {(fold.model.configuration, fold.name): fold for fold in read_overview(trained.root).folds}
    for key in (("3d_lowres", "0"), ("3d_lowres", "1"), (CASCADE, "0")):
        fold = folds[key]
        summary = json.loads((fold.model.fold(fold.name) / "validation" / "summary.json").read_text())
        assert (fold.state, fold.epochs_done, fold.epochs, fold.error, fold.remarks) == ("finished", 1, 1, "", ())
        assert fold.validation_dice == pytest.approx(summary["foreground_mean"]["Dice"])
        assert fold.history.predicted == {
            case["prediction_file"].split("/")[-1][:10] for case in summary["metric_per_case"]
        }
        told = torch.load(fold.model.fold(fold.name) / "checkpoint_final.pth", weights_only=False)["logging"]
        assert [fold.ema_dice] == pytest.approx(told["ema_fg_dice"], abs=1e-3)


def test_stock_plans_and_stock_preprocessing_train_our_trainer_too(prepared):
    prepared.run(
        *("nnUNetv2_plan_and_preprocess", "-d", 220, "-c", "3d_fullres", "-np", 1, "-npfp", 1),
        "--verify_dataset_integrity",
    )
    prepared.shorten("nnUNetPlans", mirror_axes=[])
    output = prepared.train("3d_fullres", 0, trainer="PreActResUNetTrainer_1epochs", plans="nnUNetPlans")
    assert "Mean Validation Dice" in output
