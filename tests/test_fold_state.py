"""What is left of a fold's training, for every state in which a kill can leave its folder."""

import json
import zipfile

import pytest

from nnunet_kits.model_folder import BEST, FINAL, LATEST
from nnunet_kits.training.fold_state import flags_left, fold_state, is_validated


def checkpoint(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "weights" * 100)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def test_a_fold_goes_from_new_to_begun_to_trained_to_nothing_left(tmp_path):
    fold = tmp_path / "fold_0"
    assert (fold_state(fold), flags_left(fold)) == ("new", ())
    fold.mkdir()
    assert flags_left(fold) == ()
    checkpoint(fold / LATEST)
    assert (fold_state(fold), flags_left(fold)) == ("begun", ("--c",))
    checkpoint(fold / FINAL)
    assert (fold_state(fold), flags_left(fold)) == ("trained", ("--val",))
    (fold / "validation").mkdir()
    (fold / "validation" / "summary.json").write_text(json.dumps({"foreground_mean": {}}))
    assert flags_left(fold) is None


@pytest.mark.parametrize("name", [FINAL, LATEST, BEST])
def test_a_checkpoint_that_was_cut_by_a_kill_is_a_training_begun_and_not_a_finished_one(tmp_path, name):
    checkpoint(tmp_path / name)
    cut(tmp_path / name)
    assert flags_left(tmp_path) == ("--c",)


def test_a_summary_that_was_cut_by_a_kill_is_no_validation(tmp_path):
    checkpoint(tmp_path / FINAL)
    (tmp_path / "validation").mkdir()
    summary = tmp_path / "validation" / "summary.json"
    summary.write_text(json.dumps({"foreground_mean": {"Dice": 0.5}})[:-3])
    assert not is_validated(tmp_path)
    assert flags_left(tmp_path) == ("--val",)


def test_what_validation_must_have_written_can_be_asked_of_somebody_else(tmp_path):
    checkpoint(tmp_path / FINAL)
    assert flags_left(tmp_path, validated=True) is None
    assert flags_left(tmp_path, validated=False) == ("--val",)
