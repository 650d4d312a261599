"""``nnunet_kits predict --system`` on model folders: files, guard, resume, and what is refused in one line."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from nnunetv2.imageio.nibabel_reader_writer import NibabelIOWithReorient
from small_models import write_model_folder
from test_inference_files import IPL, OBLIQUE, cascade, scans, stock_predict, voxels  # noqa: F401
from test_inference_stages import KIDNEY, LESIONS, unresampled

from nnunet_kits.cli.main import main
from nnunet_kits.inference.jobs import SystemJob, load
from nnunet_kits.inference.stages import predict_with_system
from nnunet_kits.inference.system import SYSTEMS_FOLDER, load_system

SIZES = ([16, 16, 16], [None, 24, 32])


@pytest.fixture
def system(tmp_path):
    """Chen and Zhang's system with small sizes, as a user's own file."""
    content = json.loads((SYSTEMS_FOLDER / "kits23_chenzhang.json").read_text())
    for stage, size in zip(content["stages"], SIZES, strict=True):
        stage["prepare"]["size"] = size
    content["postprocessing"] = "no_specks"
    (tmp_path / "small.json").write_text(json.dumps(content))
    return tmp_path / "small.json"


@pytest.fixture
def models(nnunet):
    """The folders of its three models, with random weights."""
    found = {}
    for seed, (key, labels) in enumerate({"coarse": KIDNEY, "kidney": KIDNEY, "lesions": LESIONS}.items()):
        patch = (16, 16, 16) if key == "coarse" else (8, 24, 32)
        plans = {**unresampled(patch=patch), "plans_name": f"{key.capitalize()}Plans"}
        found[key] = write_model_folder(nnunet / "nnUNet_results", plans, "3d_fullres", labels, seed=3 * seed + 3)
    return found


def arguments(source, out, system, models):
    given = [word for key, folder in models.items() for word in ("--model", f"{key}={folder}")]
    return ["predict", "-i", str(source), "-o", str(out), "--system", str(system), *given]


def test_a_system_writes_label_maps_on_the_cts_grid_goes_on_and_refuses_to_mix(system, models, scans, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    given = arguments(scans, out, system, models)
    assert main([*given, "--no-postprocessing"]) == 0
    job = SystemJob(load_system(str(system)), tuple((key, (str(folder),)) for key, folder in models.items()))
    loaded = load(job)
    reader = NibabelIOWithReorient()
    image, properties = reader.read_images([str(scans / "case_00001_0000.nii.gz")])
    found = predict_with_system(image[0], properties["spacing"], job.system, loaded.members)
    reader.write_seg(found.labels, str(tmp_path / "expected.nii.gz"), properties)
    for case, affine in (("case_00001", IPL), ("case_00002", OBLIQUE)):
        written = nib.load(out / f"{case}.nii.gz")
        assert written.shape == (20, 40, 44)
        assert np.allclose(written.affine, affine, atol=1e-5)
        assert written.get_data_dtype() == np.uint8
    first = voxels(out / "case_00001.nii.gz")
    assert len(np.unique(first)) > 1
    described = json.loads((out / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
    assert json.loads((out / "plans.json").read_text())["plans_name"] == "KidneyPlans"
    record = json.loads((out / "prediction.json").read_text())
    assert record["made_with"]["models"] == {key: [str(folder)] for key, folder in models.items()}
    assert record["made_with"]["system"]["stages"][1]["windows"]["mirror_axes"] == ["z"]
    assert {"coarse network", "kidney network", "write"} <= set(record["cases"]["case_00002"]["seconds"])

    (out / "case_00002.nii.gz").unlink()
    before = (out / "case_00001.nii.gz").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*given, "--no-postprocessing"]) == 0
    assert "1 of 2 were predicted before" in capsys.readouterr().out
    assert (out / "case_00001.nii.gz").stat().st_mtime_ns == before
    assert main(given) == 2
    assert "other settings (system)" in capsys.readouterr().err
    swapped = arguments(scans, out, system, {**models, "coarse": models["kidney"]})
    assert main([*swapped, "--no-postprocessing"]) == 2
    assert "other settings (models)" in capsys.readouterr().err
    assert main(["predict", "-i", str(scans), "-o", str(out), "--fine", str(models["kidney"])]) == 2
    assert "predictions made with other settings (fine, models, " in capsys.readouterr().err
    assert main([*given, "--overwrite"]) == 0
    assert np.array_equal(voxels(out / "case_00001.nii.gz"), voxels(tmp_path / "expected.nii.gz"))


def test_a_systems_fold_cases_are_cts_that_its_datasets_were_derived_from(system, models, scans, tmp_path):  # noqa: F811
    nnunet = models["lesions"].parents[2]
    dataset, source, out = models["lesions"].parent.name, tmp_path / "source", tmp_path / "out"
    for folder in (nnunet / "nnUNet_raw" / dataset, nnunet / "nnUNet_preprocessed" / dataset, source / "labelsTr"):
        folder.mkdir(parents=True)
    splits = [{"train": ["case_00001"], "val": ["case_00002"]}]
    (nnunet / "nnUNet_preprocessed" / dataset / "splits_final.json").write_text(json.dumps(splits))
    (nnunet / "nnUNet_raw" / dataset / "derivation.json").write_text(json.dumps({"source": str(source)}))
    scans.rename(source / "imagesTr")
    truth = np.zeros((20, 40, 44), np.uint8)
    truth[5:15, 10:30, 5:20], truth[8:10, 15:20, 8:12], truth[11:13, 15:20, 8:12] = 1, 2, 3
    nib.save(nib.Nifti1Image(truth, OBLIQUE), source / "labelsTr" / "case_00002.nii.gz")
    _, _, _, *given = arguments(scans, out, system, models)
    assert main(["predict", "--fold-cases", *given]) == 0
    assert [path.name for path in out.glob("*.nii.gz")] == ["case_00002.nii.gz"]
    assert json.loads((out / "prediction.json").read_text())["cases"]["case_00002"]["folds"] == ["0"]
    assert main(["evaluate", str(out), "--model", str(models["lesions"]), "--year", "23"]) == 0
    found = json.loads((out / "metrics.json").read_text())
    assert found["folds"] == {"fold_0": ["case_00002"]}
    both = voxels(out / "case_00002.nii.gz") > 0, truth > 0
    dice = 2 * (both[0] & both[1]).sum() / (both[0].sum() + both[1].sum())
    assert found["mean"]["dice"]["kidney_and_mass"] == pytest.approx(dice)


def test_what_a_system_is_not_given_is_named_and_nothing_is_written(system, models, scans, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"

    def said(*more, **changes):
        given = {key: folder for key, folder in {**models, **changes}.items() if folder}
        assert main([*arguments(scans, out, system, given), *more]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert not out.exists()
        return line

    assert "no model for lesions. The system has coarse, kidney, lesions; name each with --model" in said(lesions=None)
    assert "has no model liver. Its models are coarse, kidney, lesions" in said(liver=models["kidney"])
    assert "has the labels kidney, but tumor, cyst is needed there" in said(lesions=models["kidney"])
    assert "holds no plans.json, so it is no trained model" in said(coarse=tmp_path)
    assert "--model coarse: is KEY=FOLDER" in said("--model", "coarse")
    assert "--system and --coarse, --whole-volume do not go together" in said("--coarse", "x", "--whole-volume")
    assert "--system and --save-probabilities do not go together" in said("--save-probabilities")
    assert "--no-mirroring and --mirror-axes do not go together" in said("--no-mirroring", "--mirror-axes", "z")
    content = json.loads(system.read_text())
    system.write_text(json.dumps({**content, "stagse": []}))
    assert "small.json: unknown: stagse. The keys are summary, source" in said()
    assert main(["predict", "--system", "kits23_chenzhang"]) == 2
    assert "predict needs -i, -o" in capsys.readouterr().err
    assert main(["predict", "-i", "a", "-o", "b"]) == 2
    assert "predict needs --fine or --system" in capsys.readouterr().err
    assert main(["predict", "-i", "a", "-o", "b", "--fine", "c", "--no-postprocessing"]) == 2
    assert "belong to a system" in capsys.readouterr().err


def test_a_system_that_does_not_fit_into_memory_is_refused_before_anything_is_read(
    system,
    models,
    scans,  # noqa: F811
    tmp_path,
    capsys,
    monkeypatch,
):
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 10**8)
    assert main(arguments(scans, tmp_path / "out", system, models)) == 2
    assert "predicting it needs about" in capsys.readouterr().err


def test_the_shipped_systems_are_listed_with_their_models(capsys):
    assert main(["predict", "--list-systems"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:4] == ["kits23_chenzhang", "coarse", "kidney", "lesions"] for line in lines)
    assert len(lines) == len(list(SYSTEMS_FOLDER.glob("*.json")))


def test_chosen_mirror_axes_give_stocks_label_map_with_these_allowed(cascade, scans, tmp_path, capsys):  # noqa: F811
    low, _ = cascade
    only_z = tmp_path / "other" / low.name
    shutil.copytree(low, only_z)
    for file in only_z.rglob("checkpoint_final.pth"):
        content = torch.load(file, weights_only=False)
        content["inference_allowed_mirroring_axes"] = (0,)
        torch.save(content, file)
    (scans / "case_00002_0000.nii.gz").unlink()
    given = ["predict", "-i", str(scans), "--fine", str(low), "--folds", "0"]
    assert main([*given, "-o", str(tmp_path / "z"), "--mirror-axes", "z"]) == 0
    assert "as training did not" not in capsys.readouterr().err
    stock_predict(only_z, scans, tmp_path / "stock", mirror=True, folds=(0,))
    assert main([*given, "-o", str(tmp_path / "all")]) == 0
    ours, theirs, trained = (voxels(tmp_path / name / "case_00001.nii.gz") for name in ("z", "stock", "all"))
    assert np.mean(ours != theirs) < 1e-2  # random weights: many near-ties
    assert np.mean(ours != trained) > 5e-2
    asked = [*given[:3], "--fine", str(only_z), "-o", str(tmp_path / "y"), "--mirror-axes", "y"]
    assert main(asked) == 0
    both = capsys.readouterr()
    assert "is mirrored along y, as training did not" in both.out + both.err


def test_weighting_and_average_are_recorded_and_their_defaults_are_not(cascade, scans, tmp_path):  # noqa: F811
    (scans / "case_00002_0000.nii.gz").unlink()
    given = ["predict", "-i", str(scans), "--fine", str(cascade[0]), "--no-mirroring"]
    plain, other = tmp_path / "plain", tmp_path / "other"
    assert main([*given, "-o", str(plain)]) == 0
    assert main([*given, "-o", str(other), "--weighting", "uniform", "--average", "probabilities"]) == 0
    made = [json.loads((out / "prediction.json").read_text())["made_with"]["settings"] for out in (plain, other)]
    assert sorted(made[0]) == ["mirror", "roi", "step", "whole_if_empty", "whole_volume"]
    assert made[1] == {**made[0], "weighting": "uniform", "average": "probabilities"}
    maps = [voxels(out / "case_00001.nii.gz") for out in (plain, other)]
    assert 0 < np.mean(maps[0] != maps[1]) < 0.5
