"""The same CT in any file, and as DICOM, is predicted, measured and reported alike, in one place of space."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from conftest import SHARED
from dicom_series import write_series
from small_models import plans_with, write_model_folder
from test_images_formats import ORIGIN, PLACES, SPACING, image_of
from test_inference import abdomen

from nnunet_kits.cli.main import main
from nnunet_kits.images import read_any_ct

READERS = ("NibabelIO", "NibabelIOWithReorient", "SimpleITKIO", "SimpleITKIOWithReorient")


def ct():
    """HU (columns, rows, slices) of an abdomen with noise."""
    noise = np.random.default_rng(0).normal(0, 20, (14, 40, 36))
    return np.round(abdomen((14, 40, 36), ((7, 20, 10), (7, 20, 28))) + noise).astype(np.int16).transpose(2, 1, 0)


def model_of(nnunet, reader):
    plans = {**plans_with(spacing=(2.7, 0.6, 0.9)), "image_reader_writer": reader}
    return write_model_folder(nnunet / "nnUNet_results", plans, "3d_lowres")


@pytest.mark.parametrize(("place", "reader"), list(zip(PLACES, READERS, strict=True)))
def test_a_prediction_is_the_same_whatever_file_the_ct_comes_in(nnunet, tmp_path, place, reader):
    model, folder = model_of(nnunet, reader), tmp_path / "in"
    folder.mkdir()
    for name in ("a.nii.gz", "b.mha", "c.nrrd", "d.mhd", "e.hdr"):
        SimpleITK.WriteImage(image_of(ct(), place), str(folder / name))
    across, down = PLACES[place]
    write_series(tmp_path / "dicom", ct(), (*across, *down), SPACING, ORIGIN, series="1.9")
    common = ["--fine", str(model), "--no-mirroring", "--quiet"]
    assert main(["predict", "-i", str(folder), "-o", str(tmp_path / "out"), *common]) == 0
    dicom = tmp_path / "dicom.nii.gz"
    assert main(["predict", "-i", str(tmp_path / "dicom"), "-o", str(dicom), *common]) == 0
    expected = read_any_ct(tmp_path / "out" / "a.nii.gz")
    assert len(np.unique(expected.array)) > 1
    assert nib.load(tmp_path / "out" / "a.nii.gz").get_data_dtype() == np.uint8
    for found in (tmp_path / "out" / name for name in ("b.mha", "c.nrrd", "d.mhd", "e.hdr")):
        assert np.array_equal(read_any_ct(found).array, expected.array)
        assert read_any_ct(found).grid.is_same(expected.grid)
    assert np.array_equal(read_any_ct(dicom).array, expected.array)
    assert read_any_ct(dicom).grid.distance_mm(expected.affine) < 1e-3


@pytest.fixture
def predicted(nnunet, tmp_path):
    """A folder of two patients and a bad third, predicted."""
    for number, name in enumerate(("anna", "bert", "carl")):
        values = {"PatientID": name, "series": f"1.9.{number}"}
        missing = (lambda n, _: n != 5) if name == "carl" else lambda n, _: True
        write_series(tmp_path / "ct" / name, ct(), spacing=SPACING, change=missing, **values)
    model = model_of(nnunet, "NibabelIOWithReorient")
    run = ["predict", "-i", str(tmp_path / "ct"), "-o", str(tmp_path / "out"), "--fine", str(model), "--no-mirroring"]
    return run, tmp_path


def test_patients_are_predicted_each_measured_and_reported_from_dicom(predicted, capsys):
    run, folder = predicted
    assert main([*run, "--json"]) == 2
    failed = json.loads(capsys.readouterr().out)["failed"]
    assert list(failed) == ["carl"]
    assert "1 slices are missing, the first after slice 5 of 13" in failed["carl"]
    record = json.loads((folder / "out" / "prediction.json").read_text())
    assert {case: entry["series"] for case, entry in record["cases"].items()} == {"anna": "1.9.0", "bert": "1.9.1"}
    (folder / "ct" / "anna" / "000.dcm").rename(folder / "other.dcm")
    assert main([*run, "--resample-tilt"]) == 0
    record = json.loads((folder / "out" / "prediction.json").read_text())
    assert record["cases"]["carl"]["notes"][0].startswith("resampled from 13 slices (1 slices are missing")
    assert nib.load(folder / "out" / "carl.nii.gz").shape == (36, 40, 14)
    (folder / "other.dcm").rename(folder / "ct" / "anna" / "000.dcm")
    images = ["--images", str(folder / "ct"), "--resample-tilt"]
    assert main(["measure", str(folder / "out"), "-o", str(folder / "measured"), *images]) == 0
    table = (folder / "measured" / "measures.csv").read_text().splitlines()
    assert {line.split(",")[0] for line in table[1:]} == {"anna", "bert", "carl"}
    page = folder / "report.html"
    assert main(["report", "--predictions", str(folder / "out"), "-o", str(page), "--pictures", "1", *images]) == 0
    assert "series 1: thin, 14 slices, UID 1.9.0" in page.read_text()


def test_a_label_map_of_another_series_is_not_kept(predicted, capsys):
    run, folder = predicted
    run[run.index("-i") + 1] = str(folder / "ct" / "anna")
    assert main(run) == 0
    for file in (folder / "ct" / "anna").iterdir():
        file.unlink()
    write_series(folder / "ct" / "anna", ct(), spacing=SPACING, series="1.9.77")
    capsys.readouterr()
    assert main(run) == 2
    assert "is the label map of series 1.9.0, not of 1: thin, 14 slices, UID 1.9.77" in capsys.readouterr().err


def test_a_file_without_orientation_is_refused_by_predict(nnunet, tmp_path, capsys):
    image = nib.Nifti1Image(ct(), np.diag([-1, -1, 2, 1.0]))
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    image.to_filename(tmp_path / "a.nii.gz")
    model = model_of(nnunet, "SimpleITKIO")
    assert main(["predict", "-i", str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / "out"), "--fine", str(model)]) == 2
    assert "neither sform nor qform is set, so nothing tells right from left" in capsys.readouterr().err
    assert not (tmp_path / "out" / "a.nii.gz").exists()


def test_a_dicom_folder_that_cannot_be_taken_is_refused_before_models_are_loaded(nnunet, tmp_path, capsys):
    write_series(tmp_path / "a", ct(), change=lambda n, _: n != 5)
    model = model_of(nnunet, "NibabelIO")
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"no checkpoint")
    run = ["predict", "-i", str(tmp_path / "a"), "-o", str(tmp_path / "out"), "--fine", str(model)]
    assert main(run) == 2
    assert "slices are missing" in capsys.readouterr().err
    files = [str(file) for file in sorted((tmp_path / "a").iterdir())]
    assert main([*run[:2], *files, *run[3:], "--series", "9"]) == 2
    assert "has no series 9" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dicom_abdomen", "dicom_series", "dicom_tilted_uneven"])
def test_real_series_are_predicted_on_their_own_grid(nnunet, tmp_path, name):
    source = SHARED / "real_ct" / name
    if not source.is_dir():
        pytest.skip(f"the real series {name} is not on this machine")
    plans = {**plans_with(spacing=(4.0, 4.0, 4.0)), "image_reader_writer": "NibabelIOWithReorient"}
    model = write_model_folder(nnunet / "nnUNet_results", plans, "3d_fullres")
    tilt = ["--resample-tilt"] if "tilted" in name else []
    run = ["predict", "-i", str(source), "-o", str(tmp_path / "a.nii.gz"), "--fine", str(model), "--no-mirroring"]
    assert main([*run, *tilt]) == 0
    shape = {"dicom_abdomen": (512, 512, 30), "dicom_series": (512, 512, 20), "dicom_tilted_uneven": (512, 548, 15)}
    found = nib.load(tmp_path / "a.nii.gz")
    assert found.shape == shape[name]
    assert nib.aff2axcodes(found.affine) == ("L", "P", "S")
    assert len(np.unique(np.asarray(found.dataobj))) > 1
