"""``segment``: CTs in, all results out by one command; numbers are the same in every file."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_series import write_series
from PIL import Image
from small_models import ByIntensity, plans_with, write_model_folder
from small_models import model as small_model
from small_plans import CLASSES
from test_images_formats import ORIGIN, SPACING, image_of
from test_inference import abdomen

from nnunet_kits.cases.cts import find_cts
from nnunet_kits.cli.main import main
from nnunet_kits.cli.output import as_json
from nnunet_kits.dicom_output import Author, Results
from nnunet_kits.errors import ImageError
from nnunet_kits.segment import Models, segment
from nnunet_kits.segment.results import Folder

SR = {
    ("Volume", None): "volume_ml",
    ("Long axis", None): "axial_diameter_cm",
    ("Maximum 3D Diameter of a Mesh", None): "diameter_3d_cm",
    ("Attenuation Coefficient", "Mean"): "hu_mean",
    ("Attenuation Coefficient", "Standard Deviation"): "hu_sd",
}
"""Name and derivation of a quantity in structured reports -> column of measures.csv."""


def ct():
    """HU (columns, rows, slices): two kidneys, each with a tumor, and a cyst in one, by the values of ByIntensity."""
    image = abdomen((14, 40, 36), ((7, 20, 10), (7, 20, 28)))
    image[5:8, 17:20, 7:9] = 300
    return image.astype(np.int16).transpose(2, 1, 0)


def model_of(nnunet, monkeypatch, labels):
    """A model folder, which is loaded as a network of two folds that names voxels by their HU."""
    plans = {**plans_with(spacing=SPACING[::-1]), "image_reader_writer": "SimpleITKIO"}
    folder = write_model_folder(nnunet / "nnUNet_results", plans, "3d_fullres", labels=labels)
    made = small_model(ByIntensity(len(labels)), plans, labels=labels)
    loaded = replace(made, folder=folder, weights=made.weights * 2)
    monkeypatch.setattr("nnunet_kits.inference.jobs.load_model", lambda *_: loaded)
    return folder


@pytest.fixture
def model(nnunet, monkeypatch):
    return model_of(nnunet, monkeypatch, CLASSES)


def line(source, out, model, *more):
    return ["segment", str(source), "-o", str(out), "--model", str(model), "--no-mirroring", *map(str, more)]


class Rows(HTMLParser):
    """The cells of every row of tables in a page."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def of_structured_report(path):
    """(name, column) -> value, of every measurement group."""
    groups = hd.sr.srread(path).content
    groups = [*groups.get_volumetric_roi_measurement_groups(), *groups.get_image_measurement_groups()]
    return {
        (group.tracking_identifier, SR[m.name.meaning, m.derivation.meaning if m.derivation else None]): m.value
        for group in groups
        for m in group.get_measurements()
    }


def of_table(path, case):
    """(name as in the structured report, column) -> cell, of a patient."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == case]
    cells = {}
    for row in rows:
        name = row["structure"].replace("_and_mass", " with masses").capitalize()
        number = "" if row["structure"].startswith("kidney") else f" {row['component']}"
        cells |= {(f"{name}{number}, {row['side']}", column): row[column] for column in SR.values() if row[column]}
    return cells


def of_report(path, case):
    """(name as in the structured report, column) -> cell of the patient's table in the page, as it is rounded."""
    (article,) = re.findall(rf'<article class="case" id="case-{case}".*?</article>', path.read_text(), re.DOTALL)
    cells = {}
    for name, side, volume, axial, diameter, hu, *_ in [row for row in Rows(article).rows if len(row) == 7 and row[0]]:
        mean, _, deviation = hu.partition(" ± ")
        cells |= {
            (f"{name.capitalize()}, {side}", column): cell
            for column, cell in zip(SR.values(), (volume, axial, diameter, mean, deviation), strict=True)
        }
    return cells


def test_of_a_dicom_folder_one_command_makes_all_results_and_their_numbers_are_equal(model, tmp_path, capsys):
    dicom, out = tmp_path / "PAT0", tmp_path / "out"
    write_series(dicom, ct(), spacing=SPACING, origin=ORIGIN, series="1.9")
    assert main([*line(dicom, out, model, "--agreement"), "--json"]) == 0
    printed, told = capsys.readouterr()
    found = json.loads(printed)
    (case,) = found["cases"]
    assert (case, found["failed"]) == ("PAT0", {})
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == [
        *("dicom/PAT0.seg.dcm", "dicom/PAT0.sr.dcm", "labels/PAT0.nii.gz", "labels/agreement.csv"),
        *("labels/dataset.json", "labels/plans.json", "labels/prediction.json", "measures.csv", "measures.json"),
        *("pictures/PAT0_planes.png", "pictures/PAT0_slices.png", "report.html", "segment.json"),
    ]
    assert [found["report"], found["table"], found["pictures"], found["output"]] == [
        *(str(out / name) for name in ("report.html", "measures.csv", "pictures")),
        str(out),
    ]
    patient = found["cases"]["PAT0"]
    assert [patient[key] for key in ("labels", "segmentation", "structured_report")] == [
        str(out / name) for name in (*files[2:3], *files[:2])
    ]
    assert patient["measures"] == json.loads((out / "measures.json").read_text())["cases"]["PAT0"]

    reported, table = of_structured_report(out / "dicom" / "PAT0.sr.dcm"), of_table(out / "measures.csv", "PAT0")
    assert {key: f"{value:.4f}" for key, value in reported.items()} == table
    assert {name.split()[0].rstrip(",") for name, _ in table} == {"Kidney", "Tumor", "Cyst"}
    page = of_report(out / "report.html", "PAT0")
    assert len(page) > 20
    assert "Kidney with masses, right" in {name for name, _ in page}
    for (name, column), cell in page.items():
        value, digits = reported[name, column], 0 if column.startswith("hu") else 1
        small = column == "volume_ml" and value < 0.05
        assert cell == ("< 0.1" if small else f"{value:.{digits}f}")

    labels = np.asarray(nib.load(out / "labels" / "PAT0.nii.gz").dataobj)
    segmentation = hd.seg.segread(out / "dicom" / "PAT0.seg.dcm")
    assert sum(frame.sum() for frame in segmentation.pixel_array) == np.count_nonzero(labels)
    assert str(segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID) == "1.9"
    parameters = segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert f"model={model.name}" in parameters
    text = (out / "report.html").read_text()
    assert [words for words in ("Research use only", model.name, "2 folds: ") if words not in text] == []
    assert "PAT0: Kidney, right" in told
    with Image.open(out / "pictures" / "PAT0_planes.png") as picture:
        assert picture.width > 200

    same = segment(dicom, out, Models((str(model),), mirror=False, agreement=True))
    assert json.loads(as_json(same)) == found
    assert segmentation.SOPInstanceUID == pydicom.dcmread(out / "dicom" / "PAT0.seg.dcm").SOPInstanceUID


@pytest.fixture
def patients(tmp_path):
    """Two DICOM folders, a bad third, and a CT in a file."""
    folder = tmp_path / "in"
    for number, name in enumerate(("anna", "bert", "carl")):
        missing = (lambda n, _: n != 5) if name == "carl" else lambda n, _: True
        write_series(folder / name, ct(), spacing=SPACING, change=missing, PatientID=name, series=f"1.9.{number}")
    SimpleITK.WriteImage(image_of(ct(), "axial"), str(tmp_path / "dora.mha"))
    return folder


def test_a_bad_patient_is_named_at_the_end_and_a_stopped_run_goes_on(model, patients, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    asked = ["segment", str(patients), str(tmp_path / "dora.mha"), *line("", out, model, "--viewer-mb", 0)[2:]]

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr("nnunet_kits.reporting.report.write_report", stopped)
        assert main(asked) == 130
    files = [*out.glob("labels/*.nii.gz"), *out.glob("labels/*.mha"), *out.glob("dicom/*.dcm")]
    made = {path: path.stat().st_mtime_ns for path in files}
    assert len(made) == 7
    capsys.readouterr()
    assert main([*asked, "--json"]) == 2
    printed, told = capsys.readouterr()
    found = json.loads(printed)
    assert list(found["cases"]) == ["anna", "bert", "dora"]
    assert found["cases"]["dora"]["labels"] == str(out / "labels" / "dora.mha")
    assert found["cases"]["dora"]["segmentation"] is None
    assert "1 slices are missing" in found["failed"]["carl"]
    assert told.splitlines()[-1] == f"nnunet_kits: error: carl: {found['failed']['carl']}"
    assert {path: path.stat().st_mtime_ns for path in made} == made
    with (out / "measures.csv").open(newline="") as file:
        assert {row["case"] for row in csv.DictReader(file)} == {"anna", "bert", "dora"}
    page = (out / "report.html").read_text()
    assert "3 CTs. Results of carl are missing: see What was run." in page
    assert "Failed: carl" in page
    assert of_report(out / "report.html", "dora")

    (out / "dicom" / "bert.sr.dcm").unlink()  # as a run killed between both files leaves it
    assert main(asked) == 2
    report = pydicom.dcmread(out / "dicom" / "bert.sr.dcm")
    segmentation = pydicom.dcmread(out / "dicom" / "bert.seg.dcm")
    assert segmentation.SOPInstanceUID in str(report)
    assert (out / "dicom" / "anna.seg.dcm").stat().st_mtime_ns == made[out / "dicom" / "anna.seg.dcm"]


def test_results_of_other_patients_or_of_another_ct_are_neither_mixed_nor_lost(model, patients, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(line(patients / "anna", out, model)) == 0
    capsys.readouterr()
    assert main(line(patients / "bert", out, model)) == 2
    assert "results of anna, whose measures and report would be lost. Give another folder" in capsys.readouterr().err
    for file in (patients / "anna").iterdir():
        file.unlink()
    write_series(patients / "anna", ct(), spacing=SPACING, series="1.9.77")
    page = (out / "report.html").read_bytes()
    assert main(line(patients / "anna", out, model)) == 2
    assert "holds results of another CT of this name, not of series" in capsys.readouterr().err
    assert (out / "report.html").read_bytes() == page
    assert main(line(patients / "anna", out, model, "--overwrite")) == 0
    assert pydicom.dcmread(out / "dicom" / "anna.seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == "1.9.77"


def test_where_dicom_results_cannot_be_written_the_others_are(model, patients, tmp_path, capsys):
    for file in (patients / "anna").iterdir():
        slice_ = pydicom.dcmread(file)
        del slice_.FrameOfReferenceUID
        slice_.save_as(file)
    assert main([*line(patients / "anna", tmp_path / "out", model), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert "no DICOM results: " in found["failed"]["anna"]
    assert "has no FrameOfReferenceUID" in found["failed"]["anna"]
    assert found["cases"]["anna"]["segmentation"] is None
    assert Path(found["report"]).is_file()


@pytest.mark.parametrize("note", [5, [], None, {}, {"segmentation": 5}, {"segments": 5}, {"segments": None}, "text"])
def test_a_note_of_dicom_results_that_is_none_has_them_made_again(patients, tmp_path, note):
    out, author = tmp_path / "out", Author("m")
    cts = find_cts(patients / "anna")
    folder = Folder(out, cts, overwrite=False)
    labels = tmp_path / "anna.nii.gz"
    labels.write_bytes(b"labels")
    folder.add_dicom("anna", labels, author, "lesion", Results(segments=("Kidney, left",)))
    assert folder.dicom_before("anna", labels, author, "lesion", False) == Results(segments=("Kidney, left",))
    content = json.loads((out / "segment.json").read_text())
    kept = content["cases"]["anna"]["dicom"]
    content["cases"]["anna"]["dicom"] = {**kept, **note} if isinstance(note, dict) and note else note
    (out / "segment.json").write_text(json.dumps(content))
    again = Folder(out, cts, overwrite=False)
    assert again.dicom_before("anna", labels, author, "lesion", False) is None


def renamed(model, labels):
    described = json.loads((model / "dataset.json").read_text())
    (model / "dataset.json").write_text(json.dumps({**described, "labels": labels}))


def test_a_model_of_masses_gives_masses_in_dicom(nnunet, patients, tmp_path, monkeypatch):
    folder = model_of(nnunet, monkeypatch, {"background": 0, "kidney": 1, "mass": 2})
    found = segment(patients / "anna", tmp_path / "out", Models((str(folder),), mirror=False))
    segments = pydicom.dcmread(found.cases["anna"].segmentation).SegmentSequence
    types = [(one.SegmentLabel, one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) for one in segments]
    kidneys, masses = types[:2], types[2:]
    assert kidneys == [("Kidney, right", "Kidney"), ("Kidney, left", "Kidney")]
    assert masses == [("Mass 1, right", "Mass"), ("Mass 2, left", "Mass")]
    assert {name for name, _ in of_structured_report(found.cases["anna"].structured_report)} >= {"Mass 1, right"}
    assert "of this model any renal mass, cysts too" in found.report.read_text()
    assert found.cases["anna"].structure_set is None
    for _ in range(2):
        again = segment(patients / "anna", tmp_path / "out", Models((str(folder),), mirror=False), rtstruct=True)
        rois = pydicom.dcmread(again.cases["anna"].structure_set).StructureSetROISequence
        assert [roi.ROIName for roi in rois] == [name for name, _ in types]


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"kidney": 1, "cyst": 2, "tumor": 3}, "calls label 2 'cyst', but in KiTS it is tumor"),
        ({"right kidney": 1, "left kidney": 2, "tumor": 3}, "calls label 2 'left kidney', but in KiTS it is tumor"),
        ({"kidney": 1, "tumor": 2, "spleen": 3}, "calls label 3 'spleen'"),
        ({"kidney": 1, "tumor": 2, "ureter": 4}, "labels 4 ureter, but measures, reports and DICOM have"),
    ],
)
def test_a_model_whose_values_mean_something_else_is_refused_before_it_is_loaded(
    model, patients, tmp_path, capsys, labels, told
):
    renamed(model, {"background": 0, **labels})
    assert main(line(patients / "anna", tmp_path / "out", model)) == 2
    assert f"{model.name}: {told}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_told_with_what_to_type(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NNUNET_KITS_MODELS", str(tmp_path / "models"))
    asked = ["segment", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main(asked) == 2
    assert "renal-net: is not installed. Run: nnunet_kits models download renal-net" in capsys.readouterr().err
    assert main([*asked, "--system", "kits23_ours"]) == 2
    assert "name its models, each with --model KEY=MODEL" in capsys.readouterr().err
    assert main([*asked, "--system", "kits23_ours", "--model", "a=b", "--coarse", "c"]) == 2
    assert "Leave --coarse, --coarse-labels and --agreement out" in capsys.readouterr().err
    assert main([*asked, "--backend", "openvino", "--device", "cuda"]) == 2
    assert "backend openvino runs on the CPU, not on cuda" in capsys.readouterr().err
    with pytest.raises(ImageError, match=r"holds no"):
        segment(tmp_path, tmp_path / "out", Models((str(tmp_path / "no_model"),)))
