"""A KiTS year is one entry: a made-up one converts, is scored, measured, cleaned up and imitated by phantoms."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from kits_trees import save

from nnunet_kits import evaluation
from nnunet_kits.cli.main import main, parser
from nnunet_kits.labels import Label
from nnunet_kits.measurement.files import measure_files
from nnunet_kits.phantom import write_tree
from nnunet_kits.postprocessing import load_chain, postprocess_folder
from nnunet_kits.postprocessing.determine import determine_postprocessing
from nnunet_kits.releases import RELEASES, Release
from nnunet_kits.reporting.study import find_cases, year_of

KITS27 = Release(
    year="27",
    dataset_id=327,
    dataset_name="KiTS2027",
    data_folders=("deep/cases",),
    label_files={"": "truth.nii.gz"},
    labels=(Label.KIDNEY, Label.TUMOR),
    training=(range(700, 704),),
    test=(range(800, 802),),
    reference="none",
    url="https://example.org/kits27",
    description="made up",
    tolerances_mm={"kidney_and_mass": 1.5, "tumor": 2.5},
    image_file="scan.nii.gz",
    samples="raters/*.nii.gz",
)


@pytest.fixture(scope="module")
def kits27(tmp_path_factory):
    """The year among the others, and a folder with its phantoms and the test cases' labels."""
    root = tmp_path_factory.mktemp("kits27")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RELEASES, "27", KITS27)
        phantom = ["phantom", str(root / "kits"), "--year", "27", "--cases", "2", "--test-cases", "1"]
        assert main([*phantom, "--size", "tiny", "--keep-test-labels", str(root / "test")]) == 0
        yield root


@pytest.fixture
def predictions(kits27, tmp_path):
    """The references of the training cases, each with a speck of tumour in a corner."""
    for number in (700, 701):
        image = nib.load(kits27 / f"kits/deep/cases/case_{number:05d}/truth.nii.gz")
        labels = np.asarray(image.dataobj).copy()
        labels[0, 0, 0] = Label.TUMOR
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", labels, image.affine)
    return tmp_path / "pred"


def test_phantoms_are_laid_out_as_the_entry_says(kits27):
    found = sorted(p.relative_to(kits27 / "kits").as_posix() for p in (kits27 / "kits").rglob("*.nii.gz"))
    assert found == [
        "deep/cases/case_00700/scan.nii.gz",
        "deep/cases/case_00700/truth.nii.gz",
        "deep/cases/case_00701/scan.nii.gz",
        "deep/cases/case_00701/truth.nii.gz",
        "deep/cases/case_00800/scan.nii.gz",
    ]
    labels = np.asarray(nib.load(kits27 / "kits/deep/cases/case_00700/truth.nii.gz").dataobj)
    assert np.unique(labels).tolist() == [0, 1, 2]  # cysts are kidney where the year has no label for them
    assert [p.name for p in (kits27 / "test").iterdir()] == ["case_00800.nii.gz"]
    again = write_tree(kits27 / "kits", "2027", cases=2, test_cases=1, size="tiny")
    assert [folder.name for folder in again] == ["case_00700", "case_00701", "case_00800"]


def test_its_folder_is_converted(kits27, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert main(["convert", "--year", "27", str(kits27 / "kits"), "--labels", "regions"]) == 0
    described = json.loads((tmp_path / "Dataset327_KiTS2027/dataset.json").read_text())
    assert described["labels"] == {"background": 0, "kidney_and_mass": [1, 2], "tumor": 2}
    assert (described["release"], described["numTraining"]) == ("KiTS27", 2)
    assert [p.name for p in (tmp_path / "Dataset327_KiTS2027/imagesTs").iterdir()] == ["case_00800_0000.nii.gz"]
    assert year_of(tmp_path / "Dataset327_KiTS2027") == "27"


def test_its_predictions_are_scored_by_its_tolerances(kits27, predictions, tmp_path):
    assert main(["evaluate", str(predictions), str(kits27 / "kits"), "--year", "27", "-o", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["tolerances_mm"] == {"kidney_and_mass": 1.5, "tumor": 2.5}
    assert list(metrics["cases"]) == ["case_00700", "case_00701"]
    assert list(metrics["mean"]["dice"]) == ["kidney_and_mass", "tumor"]
    assert 0.5 < metrics["mean"]["dice"]["tumor"] < 1


def test_its_samples_are_scored_too(kits27, tmp_path):
    truth = kits27 / "kits/deep/cases/case_00700/truth.nii.gz"
    (tmp_path / "ref/deep/cases/case_00700/raters").mkdir(parents=True)
    for copy in ("truth.nii.gz", "raters/first.nii.gz", "raters/second.nii.gz"):
        (tmp_path / "ref/deep/cases/case_00700" / copy).write_bytes(truth.read_bytes())
    found = evaluation.evaluate_folder(tmp_path / "ref", tmp_path / "ref", "27", tmp_path / "out")
    assert len(found["cases"]["case_00700"]["samples"]) == 2


def test_its_folder_is_measured(kits27, tmp_path):
    data = kits27 / "kits/deep/cases"
    assert main(["measure", str(data), "--images", str(data), "-o", str(tmp_path / "out")]) == 0
    rows = list(csv.DictReader((tmp_path / "out/measures.csv").read_text().splitlines()))
    assert {row["case"] for row in rows} == {"case_00700", "case_00701"}
    assert {row["structure"] for row in rows} == {"kidney_and_mass", "kidney", "tumor"}
    one, _ = measure_files(data / "case_00700/truth.nii.gz", tmp_path / "one")
    assert list(one) == ["case_00700"]


def test_its_predictions_are_cleaned_up_by_the_chain_that_its_metrics_choose(kits27, predictions, tmp_path):
    chosen, record = determine_postprocessing([predictions], kits27 / "kits", "27", tmp_path / "chosen", ["no_specks"])
    assert chosen.name == "no_specks"
    assert record["year"] == "27"
    assert set(record["before"]["all"]) == {
        *(f"{kind}_{name}" for kind in ("dice", "surface_dice") for name in KITS27.tolerances_mm),
        "mean",
    }
    assert postprocess_folder(predictions, tmp_path / "clean", load_chain("no_specks")) == {}
    scores = evaluation.evaluate_folder(tmp_path / "clean", kits27 / "kits", "27")
    assert scores["mean"]["dice"]["tumor"] == 1.0


def test_its_predictions_are_reported_beside_its_references(kits27, predictions):
    cases = find_cases(kits27 / "kits/deep/cases", predictions, kits27 / "kits", "27")
    assert [(case.image.name, case.reference.name) for case in cases] == [("scan.nii.gz", "truth.nii.gz")] * 2


@pytest.mark.parametrize(
    "words",
    [
        "convert folder --year",
        "phantom out --year",
        "evaluate pred ref --year",
        "postprocess --determine --year",
        "report --images i --predictions p --year",
    ],
)
def test_the_command_line_offers_every_year_of_the_table(kits27, words, capsys):
    for year in RELEASES:
        assert parser().parse_args([*words.split(), year]).year == year
    with pytest.raises(SystemExit):
        parser().parse_args([*words.split(), "22"])
    assert "27" in capsys.readouterr().err
