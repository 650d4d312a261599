import copy
import json
import os
import shutil
import zipfile
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from small_plans import cascade_plans, dataset_json

from nnunet_kits.errors import TrainerNameError, TrainingError
from nnunet_kits.model_folder import FINAL, LATEST, ModelFolder
from nnunet_kits.training.cascade import load_cascade, steps_left, train_cascade
from nnunet_kits.training.previous_stage import explain, previous_stage, unusable_predictions

SPLITS = [{"train": ["c", "d"], "val": ["a", "b"]}, {"train": ["a", "b"], "val": ["c", "d"]}]
DATASET = "Dataset220_KiTS2023"


@pytest.fixture
def stage(tmp_path):
    """Full-resolution data of four cases, and no predictions yet."""
    model = ModelFolder(tmp_path / "results" / DATASET, "ResUNetTrainer", "SmallPlans", "3d_cascade_fullres")
    found = previous_stage(model, cascade_plans(), tmp_path)
    found.predictions.mkdir(parents=True)
    found.preprocessed_folder.mkdir()
    for case in "abcd":
        blosc2.asarray(np.zeros((1, 4, 5, 6), np.float32), urlpath=str(found.preprocessed_folder / f"{case}.b2nd"))
    return found


def predict(stage, case, shape=(4, 5, 6)):
    file = stage.predictions / f"{case}.b2nd"
    blosc2.asarray(np.zeros(shape, np.uint8), urlpath=str(file))
    return file


def finish(folder):
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / FINAL, "w") as archive:
        archive.writestr("data.pkl", "weights")


def test_the_stage_before_is_where_nnunets_own_trainer_looks_for_it(nnunet):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    given = cascade_plans()
    given["configurations"]["mine"] = {"inherits_from": "3d_cascade_fullres", "batch_size": 3}
    for name in ("3d_cascade_fullres", "mine"):
        trainer = nnUNetTrainer(copy.deepcopy(given), name, 0, dataset_json(), device=torch.device("cpu"))
        folder = nnunet / "nnUNet_results" / DATASET
        stage = previous_stage(
            ModelFolder(folder, "nnUNetTrainer", "SmallPlans", name), given, nnunet / "nnUNet_preprocessed" / DATASET
        )
        assert str(stage.next_model.path) == trainer.output_folder_base
        assert str(stage.predictions) == trainer.folder_with_segs_from_previous_stage
        assert str(stage.preprocessed_folder) == trainer.preprocessed_dataset_folder
    assert previous_stage(ModelFolder(folder, "nnUNetTrainer", "SmallPlans", "3d_lowres"), given, nnunet) is None


def test_every_way_a_prediction_can_be_unusable_is_told_apart(stage):
    predict(stage, "a")
    damaged = predict(stage, "b")
    damaged.write_bytes(damaged.read_bytes()[:40])
    predict(stage, "c", (4, 5, 7))
    assert unusable_predictions(stage, "abcde") == {
        "b": "its low-resolution prediction is damaged",
        "c": "its low-resolution prediction is (4, 5, 7), but its full-resolution data (4, 5, 6) voxels",
        "d": "it has no low-resolution prediction",
        "e": "its full-resolution data is not preprocessed",
    }


def test_nnunets_older_numpy_files_are_read_too(stage):
    for case in "ab":
        (stage.preprocessed_folder / f"{case}.b2nd").unlink()
        np.savez_compressed(stage.preprocessed_folder / f"{case}.npz", data=np.zeros((1, 2, 3, 4)), seg=np.zeros(1))
    np.savez_compressed(stage.predictions / "a.npz", seg=np.zeros((1, 2, 3, 4)))
    assert unusable_predictions(stage, "ab") == {"b": "it has no low-resolution prediction"}


def test_the_message_names_the_commands_for_trained_untrained_and_unpreprocessed(stage):
    finish(stage.model.fold(0))
    text = explain(stage, unusable_predictions(stage, "acx"), SPLITS)
    assert "for every case, but 3 have none that can be used (a: it has no low-resolution prediction; c: it" in text
    assert "\n  nnunet_kits preprocess -d 220 -p SmallPlans -c 3d_fullres\n" in text
    assert "\n  nnUNetv2_train 220 3d_lowres 0 -p SmallPlans -tr ResUNetTrainer --val   # 1 of the missing" in text
    assert "\n  nnUNetv2_train 220 3d_lowres 1 -p SmallPlans -tr ResUNetTrainer   # 1 of the missing" in text
    assert text.endswith("nnunet_kits cascade -d 220 -p SmallPlans -tr ResUNetTrainer")


def test_a_long_list_of_cases_is_counted(stage):
    problems = {f"case_{i:05d}": "it has no low-resolution prediction" for i in range(20)}
    text = explain(stage, problems, [])
    assert "but 20 have none" in text
    assert "case_00007" in text
    assert "case_00008" not in text
    assert "; and 12 more)" in text


@pytest.fixture
def planned(nnunet):
    """A preprocessed dataset of four cases with a cascade in its plans."""
    folder = nnunet / "nnUNet_preprocessed" / DATASET
    full = folder / "SmallPlans_3d_fullres"
    (folder / "SmallPlans_3d_lowres").mkdir(parents=True)
    full.mkdir()
    (folder / "SmallPlans.json").write_text(json.dumps(cascade_plans()))
    (folder / "splits_final.json").write_text(json.dumps(SPLITS))
    for case in "abcd":
        blosc2.asarray(np.zeros((1, 4, 5, 6), np.float32), urlpath=str(full / f"{case}.b2nd"))
    return nnunet


def words(commands):
    return [" ".join(c[1:4] + c[c.index("-device") + 2 :]) for c in commands]


def test_the_steps_left_follow_what_is_on_disk(planned):
    cascade = load_cascade(220, "SmallPlans", "ResUNetTrainer", device="cpu")
    low, full = "220 3d_lowres", "220 3d_cascade_fullres"
    assert words(steps_left(cascade, [0])) == [f"{low} 0", f"{low} 1", f"{full} 0"]
    cascade.stage.predictions.mkdir(parents=True)
    finish(cascade.stage.model.fold(0))
    cascade.stage.model.fold(1).mkdir()
    (cascade.stage.model.fold(1) / LATEST).touch()
    predict(cascade.stage, "a")
    assert words(steps_left(cascade, [1])) == [f"{low} 0 --val", f"{low} 1 --c", f"{full} 1"]
    predict(cascade.stage, "b")
    assert words(steps_left(cascade, [1])) == [f"{low} 1 --c", f"{full} 1"]
    results = planned / "nnUNet_results" / DATASET / "ResUNetTrainer__SmallPlans__3d_cascade_fullres"
    finish(results / "fold_1")
    assert words(steps_left(cascade, [1])) == [f"{low} 1 --c", f"{full} 1 --val"]
    (results / "fold_1" / "validation").mkdir()
    (results / "fold_1" / "validation" / "summary.json").write_text("{}")
    assert words(steps_left(cascade, [1])) == [f"{low} 1 --c"]


def test_stages_of_different_trainers_are_named_after_each_other(planned):
    cascade = load_cascade(220, "SmallPlans", "ResUNetTrainer", "nnUNetTrainer", device="cpu")
    commands = steps_left(cascade, [0])
    assert [c[c.index("-tr") + 1] for c in commands] == [
        "nnUNetTrainer",
        "nnUNetTrainer",
        "ResUNetTrainer_after_nnUNetTrainer",
    ]
    same = load_cascade(220, "SmallPlans", "ResUNetTrainer_after_nnUNetTrainer", device="cpu")
    assert same == cascade


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((221, "SmallPlans", "ResUNetTrainer"), TrainingError, "dataset 221 has no plans SmallPlans in .* Run: nnunet"),
        ((220, "NoPlans", "ResUNetTrainer"), TrainingError, "dataset 220 has no plans NoPlans"),
        ((220, "SmallPlans", "nnUNetTrainer", "ResUNetTrainer"), TrainingError, "nnUNetTrainer is not one of ours"),
        ((220, "SmallPlans", "ResUNetTrainer_after_A", "B"), TrainingError, "follows A, but --previous-trainer says B"),
        ((220, "SmallPlans", "ResUNetTrainer_Focalish"), TrainerNameError, "no part of a trainer's name"),
        ((220, "SmallPlans", "ResUNetTrainer", "PlainUNetTrainer_Adamm"), TrainerNameError, "no part of a trainer's"),
    ],
)
def test_a_cascade_that_cannot_be_trained_is_refused(planned, arguments, error, message):
    with pytest.raises(error, match=message):
        load_cascade(*arguments)


@pytest.mark.parametrize("configuration", ["3d_lowres", "3d_cascade_fullres"])
def test_settings_of_every_stage_are_looked_at_before_the_first_fold(planned, configuration):
    content = cascade_plans()
    content["configurations"][configuration]["kits_training"] = {"num_iterations": 5}
    (planned / "nnUNet_preprocessed" / DATASET / "SmallPlans.json").write_text(json.dumps(content))
    with pytest.raises(TrainingError, match=rf"configuration {configuration}: kits_training has no setting 'num_itera"):
        load_cascade(220, "SmallPlans", "ResUNetTrainer")
    load_cascade(220, "SmallPlans", "nnUNetTrainer")  # knows no such settings


def test_missing_splits_data_cascade_and_folds_are_refused(planned):
    folder = planned / "nnUNet_preprocessed" / DATASET
    cascade = load_cascade(220, "SmallPlans", "ResUNetTrainer")
    with pytest.raises(TrainingError, match=r"folds \[7\] do not exist: splits_final.json has 0 to 1"):
        train_cascade(cascade, [7])
    (folder / "splits_final.json").unlink()
    with pytest.raises(TrainingError, match=r"splits_final.json is missing"):
        load_cascade(220, "SmallPlans", "ResUNetTrainer")
    (folder / "SmallPlans_3d_lowres").rmdir()
    with pytest.raises(TrainingError, match=r"3d_lowres of SmallPlans is not preprocessed. Run: nnunet_kits "):
        load_cascade(220, "SmallPlans", "ResUNetTrainer")
    content = cascade_plans()
    del content["configurations"]["3d_cascade_fullres"]
    (folder / "SmallPlans.json").write_text(json.dumps(content))
    with pytest.raises(TrainingError, match="no configuration has a previous_stage"):
        load_cascade(220, "SmallPlans", "ResUNetTrainer")


def test_splits_that_leave_a_trained_case_without_a_prediction_are_refused_before_any_training(planned):
    splits = planned / "nnUNet_preprocessed" / DATASET / "splits_final.json"
    splits.write_text(json.dumps([{"train": ["a", "b"], "val": ["c"]}]))
    cascade = load_cascade(220, "SmallPlans", "ResUNetTrainer", device="cpu")
    with pytest.raises(TrainingError, match=r"a and 1 other cases are trained but validated by no fold of"):
        train_cascade(cascade, dry_run=True)
    cascade.stage.predictions.mkdir(parents=True)
    for case in "ab":
        predict(cascade.stage, case)
    assert words(train_cascade(cascade, dry_run=True)) == ["220 3d_lowres 0", "220 3d_cascade_fullres 0"]


def test_a_device_that_is_not_there_is_told_before_the_first_fold(planned, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cascade = load_cascade(220, "SmallPlans", "ResUNetTrainer")
    with pytest.raises(TrainingError, match=r"^--device cuda: torch .*\. Give --device cpu"):
        train_cascade(cascade)
    assert len(train_cascade(cascade, dry_run=True)) == 4  # what another machine would run


def test_a_failing_command_stops_the_driver_with_its_name(planned, tmp_path, monkeypatch):
    program = tmp_path / "nnUNetv2_train"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    message = r"'nnUNetv2_train 220 3d_lowres 0 -p SmallPlans .*' failed with exit status 3; its own error stands above"
    with pytest.raises(TrainingError, match=message):
        train_cascade(load_cascade(220, "SmallPlans", "ResUNetTrainer", device="cpu"))


def test_a_low_resolution_model_is_validated_where_the_next_stage_is_not_preprocessed(planned, monkeypatch):
    import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as stock

    from nnunet_kits.training.trainers import trainer_class

    seen = []
    name = "perform_actual_validation"
    monkeypatch.setattr(
        stock.nnUNetTrainer, name, lambda self, save: seen.append(self.configuration_manager.next_stage_names)
    )
    full = planned / "nnUNet_preprocessed" / DATASET / "SmallPlans_3d_fullres"
    for file in full.iterdir():
        shutil.copy(file, full.with_name("SmallPlans_3d_lowres"))

    def validate():
        given = copy.deepcopy(cascade_plans())
        trainer = trainer_class("ResUNetTrainer")(given, "3d_lowres", 0, dataset_json(), torch.device("cpu"))
        trainer.perform_actual_validation()
        return Path(trainer.log_file).read_text()

    validate()
    for file in full.iterdir():
        file.unlink()
    with pytest.raises(AssertionError):
        infer_dataset_class(str(full))
    validate()
    full.rmdir()
    with pytest.raises(FileNotFoundError):
        infer_dataset_class(str(full))
    assert "3d_cascade_fullres: not preprocessed, so nothing is predicted for it." in validate()
    assert seen == [["3d_cascade_fullres"], None, None]
