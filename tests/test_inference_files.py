"""``nnunet_kits predict`` on model folders, beside nnU-Net's own commands."""

import gzip
import json
import pickle
import re
import struct

import nibabel as nib
import numpy as np
import pytest
from nnunetv2.ensembling.ensemble import ensemble_folders
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from small_models import BANDS, ByIntensity, model, plans_with, write_model_folder
from small_plans import REGIONS
from test_inference import SPACING, abdomen

from nnunet_kits.cases.memory import fitting_workers
from nnunet_kits.cli.main import main
from nnunet_kits.errors import ImageError, InferenceError
from nnunet_kits.inference import files
from nnunet_kits.inference.files import Job, find_cases, predict_files
from nnunet_kits.inference.jobs import load
from nnunet_kits.inference.memory import bytes_needed
from nnunet_kits.inference.model import load_model
from nnunet_kits.training.previous_stage import coarse_model_folder

OBLIQUE = np.array([[0.1, 0.2, -1.5, 10], [0, -1.4, -0.2, 20], [-2.9, 0.1, 0.1, 30], [0, 0, 0, 1.0]])
IPL = np.array([[0, 0, -1.5, 0], [0, -1.5, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def scans(tmp_path):
    """Two CTs, named as nnU-Net names them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, affine in (("case_00001", IPL), ("case_00002", OBLIQUE)):
        image = abdomen((20, 40, 44), ((10, 20, 12), (10, 20, 32))) + np.random.default_rng(0).normal(
            0, 20, (20, 40, 44)
        )
        nib.save(nib.Nifti1Image(image.astype(np.float64), affine), folder / f"{name}_0000.nii.gz")
    return folder


@pytest.fixture
def cascade(nnunet):
    """Model folders of a cascade with random weights; two folds of the first stage."""
    plans = plans_with(spacing=(2.7, 1.9, 1.9))  # no voxel lies halfway between two others
    low = write_model_folder(nnunet / "nnUNet_results", plans, "3d_lowres", folds=(0, 1))
    return low, write_model_folder(nnunet / "nnUNet_results", plans, "3d_cascade_fullres", seed=5)


def stock_predict(folder, source, out, previous=None, mirror=False, folds=None):
    import torch

    predictor = nnUNetPredictor(
        device=torch.device("cpu"), perform_everything_on_device=False, use_mirroring=mirror, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), folds)
    out.mkdir()
    predictor.predict_from_files_sequential(str(source), str(out), False, True, previous and str(previous))


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def test_whole_volume_files_equal_those_of_stock_prediction_stage_by_stage(cascade, scans, tmp_path):
    low, fine = cascade
    assert main(["predict", "-i", str(scans), "-o", str(tmp_path / "low"), "--fine", str(low), "--no-mirroring"]) == 0
    stock_predict(low, scans, tmp_path / "stock_low")
    stock_predict(fine, scans, tmp_path / "stock", tmp_path / "low")
    flags = ["--whole-volume", "--no-mirroring"]
    assert main(["predict", "-i", str(scans), "-o", str(tmp_path / "fine"), "--fine", str(fine), *flags]) == 0
    for ours, stock in (("low", "stock_low"), ("fine", "stock")):
        for case in ("case_00001", "case_00002"):
            a, b = (nib.load(tmp_path / folder / f"{case}.nii.gz") for folder in (ours, stock))
            assert np.mean(np.asarray(a.dataobj) != np.asarray(b.dataobj)) < 1e-2  # random weights: many near-ties
            assert np.allclose(a.affine, b.affine, atol=1e-5)
            assert a.get_data_dtype() == b.get_data_dtype() == np.uint8
            assert len(np.unique(np.asarray(b.dataobj))) > 1


def test_predicted_files_are_kept_and_overwritten_on_request(cascade, scans, tmp_path, capsys):
    out, arguments = tmp_path / "out", ["predict", "-i", str(scans), "--fine", str(cascade[0]), "--no-mirroring"]
    assert main([*arguments, "-o", str(out)]) == 0
    (out / "case_00002.nii.gz").unlink()
    before = (out / "case_00001.nii.gz").stat().st_mtime_ns
    assert main([*arguments, "-o", str(out)]) == 0
    assert "1 of 2 were predicted before" in capsys.readouterr().out
    assert (out / "case_00001.nii.gz").stat().st_mtime_ns == before
    assert sorted(json.loads((out / "prediction.json").read_text())["cases"]) == ["case_00001", "case_00002"]
    stopped = json.loads((out / "prediction.json").read_text())
    assert sorted(stopped) == ["cases", "made_with"]
    stopped["under_way"] = ["case_00001"]  # as where a run is killed between a label map and its note
    del stopped["cases"]["case_00001"]
    (out / "prediction.json").write_text(json.dumps(stopped))
    assert main([*arguments, "-o", str(out)]) == 0
    assert sorted(json.loads((out / "prediction.json").read_text())["cases"]) == ["case_00001", "case_00002"]
    assert (out / "case_00001.nii.gz").stat().st_mtime_ns != before
    assert main([*arguments, "-o", str(out), "--step", "1"]) == 2
    assert "holds predictions made with other settings (settings)" in capsys.readouterr().err
    good = (out / "prediction.json").read_text()
    (out / "prediction.json").write_text(good[:40])
    assert main([*arguments, "-o", str(out)]) == 2
    said = capsys.readouterr().err
    assert "holds a record that cannot be read" in said
    assert "other settings" not in said
    assert main([*arguments, "-o", str(out), "--step", "1", "--overwrite"]) == 0
    assert (out / "case_00001.nii.gz").stat().st_mtime_ns != before
    assert json.loads((out / "plans.json").read_text())["plans_name"] == "SmallPlans"
    described = (out / "dataset.json").read_bytes()
    for damaged in (out / "plans.json", out / "dataset.json"):  # nothing is left to predict, but these are mended
        damaged.write_bytes(damaged.read_bytes()[:40])
    assert main([*arguments, "-o", str(out), "--step", "1"]) == 0
    assert json.loads((out / "plans.json").read_text())["plans_name"] == "SmallPlans"
    assert (out / "dataset.json").read_bytes() == described


def test_a_single_file_can_be_predicted_to_a_single_file(cascade, scans, tmp_path):
    out = tmp_path / "new" / "label.nii.gz"
    source = scans / "case_00001_0000.nii.gz"
    assert main(["predict", "-i", str(source), "-o", str(out), "--fine", str(cascade[0]), "--step", "1"]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["label.nii.gz"]
    assert voxels(out).shape == (20, 40, 44)


def test_a_damaged_scan_is_named_and_the_others_are_predicted(cascade, scans, tmp_path, capsys):
    broken = scans / "case_00001_0000.nii.gz"
    broken.write_bytes(broken.read_bytes()[:5000])
    out = tmp_path / "out"
    assert main(["predict", "-i", str(scans), "-o", str(out), "--fine", str(cascade[0]), "--step", "1"]) == 2
    assert "the gzip file is truncated" in capsys.readouterr().err
    assert sorted(path.name for path in out.glob("*.nii.gz")) == ["case_00002.nii.gz"]


@pytest.mark.parametrize("labels", [None, REGIONS], ids=["classes", "regions"])
def test_stock_ensembling_reads_the_probabilities_and_gives_the_same_labels(nnunet, scans, tmp_path, labels):
    plans = plans_with(patch=(16, 16, 16))
    chosen = {} if labels is None else {"labels": labels}
    low = write_model_folder(nnunet / "nnUNet_results", plans, "3d_lowres", **chosen)
    out = tmp_path / "out"
    arguments = ["-i", str(scans), "-o", str(out), "--fine", str(low), "--step", "1", "--no-mirroring"]
    assert main(["predict", *arguments, "--save_probabilities"]) == 0
    ensemble_folders([str(out)], str(tmp_path / "ensemble"), num_processes=1)
    for case in ("case_00001", "case_00002"):
        a, b = nib.load(out / f"{case}.nii.gz"), nib.load(tmp_path / "ensemble" / f"{case}.nii.gz")
        assert np.array_equal(np.asarray(a.dataobj), np.asarray(b.dataobj))
        assert np.allclose(a.affine, b.affine, atol=1e-5)
        assert np.load(out / f"{case}.npz")["probabilities"].dtype == np.float32
        assert "spacing" in pickle.loads((out / f"{case}.pkl").read_bytes())


def test_outside_the_boxes_the_background_is_certain(tmp_path):
    from nnunet_kits.inference.coarse_to_fine import Settings, predict_array
    from nnunet_kits.inference.probabilities import write_probabilities
    from nnunet_kits.inference.roi import RoiSettings

    plans = plans_with()
    coarse, fine = model(ByIntensity(), plans, "3d_lowres"), model(ByIntensity(), plans, "3d_fullres")
    found = predict_array(abdomen(), SPACING, [fine], coarse, Settings(mirror=False, roi=RoiSettings(margin_mm=5)))
    write_probabilities(tmp_path / "x", found, fine, {"spacing": list(SPACING)})
    maps = np.load(tmp_path / "x.npz")["probabilities"]
    assert np.array_equal(maps.argmax(0), found.labels)
    assert maps[0, 0, 0, 0] == 1
    assert np.allclose(maps.sum(0), 1)


def test_the_first_stage_of_a_cascade_is_found_beside_it(cascade):
    low, fine = cascade
    assert coarse_model_folder(fine) == low.resolve()
    assert coarse_model_folder(low) is None
    low.rename(low.with_name("moved"))
    with pytest.raises(InferenceError, match=r"its low-resolution model .* is missing"):
        coarse_model_folder(fine)


def test_our_trainers_are_found_without_any_variable(cascade, monkeypatch):
    import torch

    monkeypatch.delenv("nnUNet_extTrainer")
    assert len(load_model(cascade[0], torch.device("cpu")).weights) == 2


def test_a_folder_that_is_no_model_is_refused_with_what_is_missing(cascade, tmp_path):
    import torch

    cpu = torch.device("cpu")
    with pytest.raises(InferenceError, match=r"holds no plans\.json, so it is no trained model"):
        load_model(tmp_path, cpu)
    with pytest.raises(InferenceError, match=r"no checkpoint_final\.pth in fold 3; folds with one: 0, 1"):
        load_model(cascade[0], cpu, ["3"])
    with pytest.raises(InferenceError, match=r"no checkpoint_best\.pth in fold 0 to 4; folds with one: none"):
        load_model(cascade[0], cpu, checkpoint="checkpoint_best.pth")


def test_only_ct_files_of_one_channel_are_taken(tmp_path):
    for name in ("a_0000.nii.gz", "b.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    found = find_cases(tmp_path, tmp_path / "out", ".nii.gz")
    assert [(case.name, case.output.name) for case in found] == [("a", "a.nii.gz"), ("b", "b.nii.gz")]
    (tmp_path / "a_0001.nii.gz").write_bytes(b"")
    with pytest.raises(ImageError, match="a CT has one channel"):
        find_cases(tmp_path, tmp_path / "out", ".nii.gz")
    with pytest.raises(ImageError, match=r"none: no such file or folder\. Name a CT, a folder of CTs"):
        find_cases(tmp_path / "none", tmp_path / "out", ".nii.gz")
    (tmp_path / "c.mha").write_bytes(b"")
    (case,) = find_cases(tmp_path / "c.mha", tmp_path / "out", ".nii.gz")
    assert (case.name, case.output.name) == ("c", "c.mha")
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"c\.png: is in no format that is read, which are \.nii\.gz, \.nii, \.mha"):
        find_cases(tmp_path / "c.png", tmp_path / "out", ".nii.gz")
    (case,) = find_cases(tmp_path / "c.png", tmp_path / "out", ".png")
    assert case.output.name == "c.png"


def test_a_scan_that_does_not_fit_into_memory_is_refused_before_anything_is_read(cascade, scans, tmp_path, monkeypatch):
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 10**8)
    monkeypatch.setattr(files, "read_ct_scan", lambda *_: pytest.fail("was read"))
    failed = predict_files(Job((str(cascade[0]),)), scans, tmp_path / "out")
    assert sorted(failed) == ["case_00001", "case_00002"]
    assert re.search(r"predicting it needs about .* GB of memory, of which 0\.1 GB", failed["case_00001"])


def test_a_scan_whose_header_claims_more_than_fits_does_not_keep_the_others_from_being_predicted(
    cascade, scans, tmp_path
):
    bomb = scans / "case_00001_0000.nii.gz"
    header = bytearray(gzip.decompress(bomb.read_bytes()))
    struct.pack_into("<3h", header, 42, 30000, 30000, 30000)
    bomb.write_bytes(gzip.compress(bytes(header)))
    failed = predict_files(Job((str(cascade[0]),)), scans, tmp_path / "out")
    assert list(failed) == ["case_00001"]
    assert "predicting it needs about" in failed["case_00001"]
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["case_00002.nii.gz"]


def test_workers_are_fewer_where_memory_is_short(monkeypatch):
    monkeypatch.setattr("nnunet_kits.cases.memory.available_memory_bytes", lambda: 10_000)
    assert fitting_workers(9, 4_000, wanted=8) == 2
    assert fitting_workers(3, 100, wanted=8) == 3
    small = bytes_needed([(model(ByIntensity(), plans_with()), 1.0)], (100, 512, 512), SPACING, 2)
    assert bytes_needed([(model(ByIntensity(), plans_with()), 1.0)], (600, 512, 512), SPACING, 2) > small
    assert BANDS["0"]["std"] == 100


@pytest.mark.parametrize(("flag", "value"), [("--step", "0"), ("--step", "1.5"), ("--step", "nan")])
def test_impossible_steps_are_refused(flag, value, tmp_path, capsys):
    (tmp_path / "a.nii.gz").touch()
    arguments = ["predict", "-i", str(tmp_path), "-o", str(tmp_path), "--fine", str(tmp_path), flag, value]
    assert main(arguments) == 2
    assert "step" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value"), [("--margin-mm", "-1"), ("--margin-mm", "nan"), ("--margin-mm", "inf"), ("-np", "0")]
)
def test_numbers_that_nothing_can_be_done_with_are_no_arguments(flag, value, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "-i", "a", "-o", "b", "--fine", "c", flag, value])
    assert f"argument {flag}: {value!r} is not a" in capsys.readouterr().err


@pytest.mark.parametrize(("device", "there"), [("cuda", "cuda.is_available"), ("mps", "backends.mps.is_available")])
def test_a_device_that_is_not_there_is_told_before_models_are_loaded(device, there, monkeypatch, tmp_path):
    monkeypatch.setattr(f"torch.{there}", lambda: False)
    with pytest.raises(InferenceError, match=rf"--device {device}: torch .*\. Give --device cpu"):
        load(Job((str(tmp_path),), device=device))


@pytest.mark.slow
def test_two_processes_predict_what_one_does(cascade, scans, tmp_path, caplog):
    caplog.set_level("INFO", "nnunet_kits")
    job = Job((str(cascade[0]),))
    assert predict_files(job, scans, tmp_path / "two", workers=2) == {}
    assert "2 process(es)" in caplog.messages[0]
    predict_files(job, scans, tmp_path / "one")
    for case in ("case_00001.nii.gz", "case_00002.nii.gz"):
        assert np.array_equal(voxels(tmp_path / "one" / case), voxels(tmp_path / "two" / case))
