"""Published models as their authors publish them: a ResEnc L of .mha data, and 117 labels as a coarse stage."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK
import torch
from small_zips import anything
from stock_models import HUNDRED_AND_SEVENTEEN, described, plain_plans, res_enc_plans, stock_model

from nnunet_kits.cli.main import main
from nnunet_kits.models import install as installing
from nnunet_kits.models.export import About, export_models
from nnunet_kits.models.install import find_offer, install
from nnunet_kits.models.places import installed
from nnunet_kits.models.sources import Remote

RENAL_NET = "Dataset102_KidneyCT"
TOTAL = "Dataset297_TotalSegmentator_total_3mm_1559subj"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Both models, downloaded under their names; yields the folders that they were made in."""
    root = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "NNUNET_KITS_MODELS"):
            (root / name).mkdir()
            monkeypatch.setenv(name, str(root / name))
        labels = {"background": 0, "kidney": 1, "mass": 2}
        plans = res_enc_plans(RENAL_NET)
        fine = stock_model("nnUNetTrainer", plans, described(labels, ".mha"), "checkpoint_best.pth", (0, 1))
        trainer, whole = "nnUNetTrainer_4000epochs_NoMirroring", described(HUNDRED_AND_SEVENTEEN, ".nii.gz")
        coarse = stock_model(trainer, plain_plans(TOTAL), whole, "checkpoint_final.pth", seed=9)
        for name, folder, file in (("renal-net", fine, "best"), ("totalsegmentator-3mm", coarse, "final")):
            archive = root / f"{name}.zip"
            export_models([folder], archive, About(), checkpoint=f"checkpoint_{file}.pth")
            monkeypatch.setattr(installing, "find_remote", lambda _, name=name: Remote("https://x", "x.zip", name))
            monkeypatch.setattr(installing, "download", lambda *_, archive=archive: archive)
            install(find_offer(name), anything)
        yield fine, coarse


def a_ct(path, direction=(1, 0, 0, 0, 1, 0, 0, 0, 1)):
    image = SimpleITK.GetImageFromArray(np.random.default_rng(0).normal(100, 80, (20, 34, 30)).astype(np.float32))
    image.SetSpacing((2.0, 2.0, 2.5))
    image.SetDirection(direction)
    path.parent.mkdir(exist_ok=True)
    SimpleITK.WriteImage(image, str(path))
    return path


def array(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def stock_map(folder, ct, tmp_path, folds=(0, 1)):
    """What nnU-Net's own predictor makes of a CT."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        device=torch.device("cpu"), perform_everything_on_device=False, use_mirroring=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_best.pth")
    source, out = tmp_path / "stock_in", tmp_path / "stock_out"
    source.mkdir()
    out.mkdir()
    shutil.copy(ct, source / "ct_0000.mha")
    predictor.predict_from_files_sequential(str(source), str(out), False, True, None)
    return array(out / "ct.mha")


def test_models_of_the_catalogue_predict_by_their_names(published, tmp_path, capsys):
    ct, out = a_ct(tmp_path / "in" / "ct_0000.mha"), tmp_path / "out"
    fast = ("--device", "cpu", "--disable_tta")
    line = ["predict", "-i", str(ct.parent), "-o", str(out), "--fine", "renal-net", *fast, "--no-postprocessing"]
    assert main(line) == 0
    stock = stock_map(published[0], ct, tmp_path)
    ours = array(out / "ct.mha")
    assert len(np.unique(stock)) > 1
    assert (ours != stock).mean() < 1e-3  # near-ties
    made = json.loads((out / "prediction.json").read_text())["made_with"]
    (renal_net,) = installed("renal-net").paths
    assert made["fine"] == [str(renal_net)]
    assert made["checkpoints"] == [[str(renal_net), "checkpoint_best.pth"]]
    assert made["orientations"] == [[str(renal_net), "LPS"]]
    assert "postprocessing" not in made

    capsys.readouterr()
    both = tmp_path / "both"
    line = ["predict", "-i", str(ct.parent), "-o", str(both), "--fine", "renal-net", *fast, "--whole-volume-if-empty"]
    assert main([*line, "--coarse", "totalsegmentator-3mm"]) == 0
    made = json.loads((both / "prediction.json").read_text())
    assert made["made_with"]["coarse_labels"] == [
        "kidney_right",
        "kidney_left",
        "kidney_cyst_left",
        "kidney_cyst_right",
    ]
    assert made["made_with"]["postprocessing"] == "renal_net"
    assert "postprocessing" in made["cases"]["ct"]["seconds"]


def test_a_coarse_model_of_other_organs_must_be_told_its_kidneys(published, tmp_path, capsys):
    fine, coarse = published
    ct = a_ct(tmp_path / "in" / "ct_0000.mha")
    line = ["predict", "-i", str(ct), "-o", str(tmp_path / "out"), "--fine", str(fine), "--coarse", str(coarse)]
    assert main(line) == 2
    told = capsys.readouterr().err
    assert "finds more than kidneys: organ_1, kidney_right, kidney_left" in told
    assert "organ_117. Name those that are the kidneys" in told
    assert main([*line, "--coarse-labels", "kidney_left,spleen"]) == 2
    assert (
        "--coarse-labels spleen: nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres has no such label"
        in (capsys.readouterr().err)
    )
    assert main([*line, "--checkpoint", "checkpoint_best.pth"]) == 2
    capsys.readouterr()
    tail = ["--coarse-labels", "kidney_left,kidney_right", "--device", "cpu", "--disable_tta"]
    line[line.index(str(fine))] = f"{fine}:checkpoint_best.pth"
    assert main([*line, *tail]) == 0
    assert array(tmp_path / "out" / "ct.mha").shape == (20, 34, 30)


def test_a_scan_that_lies_otherwise_is_shown_as_the_models_want_it(published, tmp_path):
    """The same patient as NIfTI, stored from above, the front and the left: the label map is the same one, turned."""
    fast = ("--device", "cpu", "--disable_tta", "--fine", "renal-net", "--no-postprocessing")
    ct = a_ct(tmp_path / "in" / "ct_0000.mha")
    turned = tmp_path / "turned" / "ct_0000.nii.gz"
    turned.parent.mkdir()
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(ct)), "IPR"), str(turned))
    for source in (ct, turned):
        assert main(["predict", "-i", str(source.parent), "-o", str(source.parent / "out"), *fast]) == 0
    found = SimpleITK.ReadImage(str(turned.parent / "out" / "ct.nii.gz"))
    assert found.GetSize() == (20, 34, 30)
    back = SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(found, "LPS"))
    assert np.array_equal(back, array(ct.parent / "out" / "ct.mha"))
    assert len(np.unique(back)) > 1
