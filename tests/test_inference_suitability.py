"""Which model is meant, and whether it can serve, is told before torch is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_zips import MODEL, anything, model_files

from nnunet_kits.cli.main import main
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.chosen import Chosen, check_checkpoint_name, choose_model
from nnunet_kits.inference.suitability import check_channels, dataset_of, kidney_values
from nnunet_kits.models.install import import_model

FOLDER = Path("T__P__3d_fullres")
KIDNEYS = {"labels": {"background": 0, "kidney": 1, "mass": 2}}


def written(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / MODEL


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (
            {"0": "CT", "1": "PET"},
            r"T__P__3d_fullres: was trained on 2 channels \(CT, PET\); predict serves models of one CT",
        ),
        ({"0": "T2 MRI"}, "was trained on T2 MRI; predict serves models of CT"),
        ({"0": "flair"}, "was trained on flair"),
    ],
)
def test_models_of_two_channels_and_of_mr_are_told_what_is_served(channels, message):
    for key in ("channel_names", "modality"):
        with pytest.raises(InferenceError, match=message):
            check_channels(FOLDER, {key: channels})


@pytest.mark.parametrize("channels", [{"0": "CT"}, {"0": "ct"}, {"0": "CT portal venous"}, {}])
def test_models_of_one_ct_are_served(channels):
    check_channels(FOLDER, {"channel_names": channels})


@pytest.mark.parametrize(
    ("labels", "wanted", "values"),
    [
        ({"kidney": 1, "tumor": 2}, None, None),
        ({"Left Kidney": 1, "right-kidney": 2, "renal_cyst": 3}, None, None),
        ({"mass": 5}, None, None),
        ({"kidney_left": 3, "kidney_right": 2, "liver": 5}, ["kidney_left", "kidney_right"], (2, 3)),
        ({"kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}, None, None),
        ({"kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}, ["mass"], (2, 3)),
    ],
)
def test_the_kidneys_of_a_coarse_model(labels, wanted, values):
    assert kidney_values(FOLDER, {"labels": {"background": 0, **labels}}, KIDNEYS, wanted) == values


@pytest.mark.parametrize("labels", [{"liver": 1, "tumor": 2}, {"liver_tumor": 1}, {"kidney": 1, "spleen": 2}, {"1": 1}])
def test_a_coarse_model_of_other_organs_lists_its_labels(labels):
    with pytest.raises(InferenceError, match=rf"finds more than kidneys: {', '.join(labels)}\. Name those"):
        kidney_values(FOLDER, {"labels": {"background": 0, **labels}}, KIDNEYS, None)
    with pytest.raises(InferenceError, match=r"--coarse-labels nowhere: .* has no such label\. It has"):
        kidney_values(FOLDER, {"labels": labels}, KIDNEYS, ["nowhere"])


def test_a_model_is_a_folder_or_a_name_with_a_checkpoint_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("NNUNET_KITS_MODELS", str(tmp_path / "models"))
    folder = written(tmp_path / "results", model_files())
    made = import_model(folder, anything, "mine")
    assert choose_model(str(folder)) == Chosen(folder)
    assert choose_model(f"{folder}:checkpoint_x.pth") == Chosen(folder, "checkpoint_x.pth")
    assert choose_model("mine") == Chosen(made.paths[0], "checkpoint_best.pth")
    assert choose_model(str(made.paths[0])) == Chosen(made.paths[0], "checkpoint_best.pth")
    assert choose_model("mine:checkpoint_x.pth") == Chosen(made.paths[0], "checkpoint_x.pth")
    assert choose_model("no/such") == Chosen(Path("no/such"))
    with pytest.raises(
        InferenceError, match=r"renal-net: is not installed\. Run: nnunet_kits models download renal-net"
    ):
        choose_model("renal-net")
    other = MODEL.replace("3d_fullres", "2d")
    import_model(written(tmp_path / "two", model_files() | model_files(other)).parent, anything, "two")
    with pytest.raises(InferenceError, match=r"two: holds several models\. Name one by its folder"):
        choose_model("two")


@pytest.mark.parametrize("name", ["../fold_1/checkpoint_final.pth", "/tmp/x.pth", "a\\b.pth", "weights.pt"])
def test_a_checkpoint_is_a_file_in_the_folds_folders(name):
    with pytest.raises(InferenceError, match="is a file in the folds' folders"):
        check_checkpoint_name(name)


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": [1]}'])
def test_a_damaged_dataset_json_is_one_line(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InferenceError, match=r"dataset\.json: .*Copy the model again"):
        dataset_of(tmp_path)
    assert dataset_of(tmp_path / "none") is None


def test_a_model_that_does_not_serve_is_told_before_torch_is_imported(tmp_path):
    folder = written(tmp_path, model_files())
    described = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**described, "channel_names": {"0": "CT", "1": "PET"}}))
    code = f"""
import sys
from nnunet_kits.cli.main import main
assert main(["predict", "-i", {str(tmp_path)!r}, "-o", "out", "--fine", {str(folder)!r}]) == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "was trained on 2 channels" in done.stderr


def test_coarse_labels_without_a_coarse_model_are_refused(tmp_path, capsys):
    folder = written(tmp_path, model_files())
    line = ["predict", "-i", str(tmp_path), "-o", "out", "--fine", str(folder), "--coarse-labels", "kidney"]
    assert main(line) == 2
    assert "--coarse-labels belongs to a coarse model" in capsys.readouterr().err
