"""``predict --fold-cases``: every case by models that were not trained on it."""

import json

import nibabel as nib
import numpy as np
import pytest
from small_models import plans_with, write_model_folder
from test_inference import abdomen
from test_inference_files import IPL

from nnunet_kits.cli.main import main
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.fold_cases import fold_cases

SHAPE = (20, 40, 44)
FOLDS = [
    {"train": ["case_00002", "case_00003"], "val": ["case_00000", "case_00001"]},
    {"train": ["case_00000", "case_00001"], "val": ["case_00002"]},
]


@pytest.fixture
def dataset(nnunet):
    """Four CTs and label maps, of which one case is held out of two folds; returns nnU-Net's root."""
    name = plans_with()["dataset_name"]
    raw, preprocessed = nnunet / "nnUNet_raw" / name, nnunet / "nnUNet_preprocessed" / name
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True)
    for number in (0, 1, 2, 4):
        clean = abdomen(SHAPE, ((10, 20, 12), (10, 20, 32)))
        noise = np.random.default_rng(number).normal(0, 20, SHAPE)
        image = nib.Nifti1Image(clean + noise, IPL)
        nib.save(image, raw / "imagesTr" / f"case_{number:05d}_0000.nii.gz")
        nib.save(nib.Nifti1Image((clean > 150).astype(np.uint8), IPL), raw / "labelsTr" / f"case_{number:05d}.nii.gz")
    folds = [{part: [c for c in cases if c != "case_00003"] for part, cases in fold.items()} for fold in FOLDS]
    (preprocessed / "splits_final.json").write_text(json.dumps(folds))
    return nnunet


@pytest.fixture
def model(dataset):
    """A model of two folds with random weights."""
    return write_model_folder(dataset / "nnUNet_results", plans_with(), "3d_lowres", folds=(0, 1))


def splits_file(model):
    return model.parents[2] / "nnUNet_preprocessed" / model.parent.name / "splits_final.json"


def test_a_folds_cases_are_those_that_it_validates(model):
    one, two = fold_cases([model])
    assert (one.folds, list(one.scans)) == (("0",), ["case_00000", "case_00001"])
    assert (two.folds, list(two.scans)) == (("1",), ["case_00002"])
    assert one.scans["case_00000"].name == "case_00000_0000.nii.gz"
    assert fold_cases([model], ["1"]) == [two]
    (apart,) = fold_cases([model], ["held_out"])
    assert (apart.folds, list(apart.scans)) == (None, ["case_00004"])


def test_a_derived_datasets_cases_are_taken_from_its_source_where_that_is_asked_for(model, tmp_path):
    (tmp_path / "source").mkdir()
    (model.parents[2] / "nnUNet_raw" / model.parent.name / "imagesTr").rename(tmp_path / "source" / "imagesTr")
    record = model.parents[2] / "nnUNet_raw" / model.parent.name / "derivation.json"
    record.write_text(json.dumps({"source": str(tmp_path / "source")}))
    assert fold_cases([model], ["1"], by_source=True)[0].scans["case_00002"].parents[1] == tmp_path / "source"
    with pytest.raises(InferenceError, match=r"its imagesTr is not found\. Set nnUNet_raw, or name the CTs with -i"):
        fold_cases([model], ["1"])
    record.write_text("[]")
    with pytest.raises(InferenceError, match=r"derivation\.json: must be a JSON object, but is a list"):
        fold_cases([model], ["1"], by_source=True)


def test_what_no_fold_or_case_is_there_of_is_refused(model, tmp_path):
    for wanted in ("2", "all", "-1"):
        with pytest.raises(InferenceError, match=f"--fold-cases {wanted}: .* has folds 0 to 1, and held_out"):
            fold_cases([model], [wanted])
    (model.parents[2] / "nnUNet_raw" / model.parent.name / "imagesTr" / "case_00002_0000.nii.gz").unlink()
    with pytest.raises(InferenceError, match=r"fold 1: no CT of case_00002\. Name the folder with all of them with -i"):
        fold_cases([model])
    splits_file(model).write_text(json.dumps([{"train": ["case_00004", "case_00000"], "val": ["case_00001"]}]))
    with pytest.raises(InferenceError, match=r"--fold-cases held_out: .* holds no case out of its folds"):
        fold_cases([model], ["held_out"])
    splits_file(model).unlink()
    with pytest.raises(InferenceError, match=r"its splits_final\.json is not found, so nobody knows which cases"):
        fold_cases([model])


@pytest.mark.parametrize("wanted", ["1", "held_out"])
def test_a_second_model_that_was_trained_on_a_case_is_refused(model, tmp_path, wanted):
    other = model.parents[1] / "Dataset300_Other" / model.name
    other.mkdir(parents=True)
    folder = model.parents[2] / "nnUNet_preprocessed" / other.parent.name
    folder.mkdir()
    folds = [FOLDS[0], {"train": ["case_00002", "case_00004"], "val": ["case_00000"]}]
    (folder / "splits_final.json").write_text(json.dumps(folds))
    with pytest.raises(InferenceError, match=f"fold {wanted} was trained on case_0000[24], so predicting that would"):
        fold_cases([model, other], [wanted])
    assert fold_cases([model, other], ["0"])


def test_each_case_is_predicted_by_the_fold_that_validates_it_and_then_scored_by_fold(model, tmp_path, capsys):
    out, quick = tmp_path / "out", ["--fine", str(model), "--no-mirroring", "--step", "1"]
    assert main(["predict", "--fold-cases", "-o", str(out), *quick]) == 0
    assert sorted(path.name for path in out.glob("*.nii.gz")) == [f"case_0000{n}.nii.gz" for n in (0, 1, 2)]
    for fold, case in (("0", "case_00001"), ("1", "case_00002")):
        scan = model.parents[2] / "nnUNet_raw" / model.parent.name / "imagesTr" / f"{case}_0000.nii.gz"
        alone = tmp_path / f"{case}.nii.gz"
        assert main(["predict", "-i", str(scan), "-o", str(alone), "--folds", fold, *quick]) == 0
        assert alone.read_bytes() == (out / alone.name).read_bytes()
    record = json.loads((out / "prediction.json").read_text())
    assert {case: found["folds"] for case, found in record["cases"].items()} == {
        "case_00000": ["0"],
        "case_00001": ["0"],
        "case_00002": ["1"],
    }
    capsys.readouterr()
    (out / "case_00002.nii.gz").unlink()
    assert main(["predict", "--fold-cases", "1", "-o", str(out), *quick]) == 0
    assert "case_00002: " in capsys.readouterr().out
    assert list(json.loads((out / "prediction.json").read_text())["cases"]) == [f"case_0000{n}" for n in (0, 1, 2)]
    assert main(["evaluate", str(out), "--model", str(model), "--year", "23"]) == 0
    assert "fold_0    fold_1" in capsys.readouterr().out


def test_held_out_cases_are_predicted_by_all_folds(model, tmp_path):
    quick = ["--fine", str(model), "--no-mirroring", "--step", "1"]
    assert main(["predict", "--fold-cases", "held_out", "-o", str(tmp_path / "out"), *quick]) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["case_00004.nii.gz"]
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert record["cases"]["case_00004"]["folds"] is None


def test_folds_and_fold_cases_are_not_mixed(model, tmp_path, capsys):
    out, quick = tmp_path / "out", ["--fine", str(model), "--no-mirroring", "--step", "1"]
    assert main(["predict", "--fold-cases", "--folds", "0", "-o", str(out), *quick]) == 2
    assert "--folds and --fold-cases do not go together" in capsys.readouterr().err
    images = model.parents[2] / "nnUNet_raw" / model.parent.name / "imagesTr"
    assert main(["predict", "-i", str(images), "-o", str(out), *quick]) == 0
    assert main(["predict", "--fold-cases", "-o", str(out), *quick]) == 2
    assert "predictions made with other settings (folds)" in capsys.readouterr().err
    assert main(["predict", "-o", str(out), *quick]) == 2
    assert "-i" in capsys.readouterr().err
