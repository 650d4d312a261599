"""``--json``: every verb prints one JSON document on standard output, and nothing else there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_series import phantom, write_series
from small_logs import log, write_fold

from nnunet_kits import doctor
from nnunet_kits.cli.main import VERBS, main
from nnunet_kits.cli.output import as_json
from nnunet_kits.images import choose_series, find_series, series_grid, write_volume
from nnunet_kits.phantom import write_tree
from nnunet_kits.planning.presets import preset_names
from nnunet_kits.preprocessing.dataset import Outcome
from nnunet_kits.segment import Segmented
from nnunet_kits.training.names import heads

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "cli.md"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three phantoms as KiTS23 ships its data, their CTs by name, and two systems' label maps of them, evaluated."""
    root = tmp_path_factory.mktemp("data")
    for folder in write_tree(root / "kits", "23", cases=3, size="tiny"):
        truth = nib.load(folder / "segmentation.nii.gz")
        for system in ("good", "poor"):
            (root / system).mkdir(exist_ok=True)
            labels = truth.get_fdata().astype("uint8")
            if system == "poor":
                labels[labels == 2] = 1
            nib.save(nib.Nifti1Image(labels, truth.affine), root / system / f"{folder.name}.nii.gz")
    write_series(root / "dicom", phantom())
    series = choose_series(find_series(root / "dicom"))
    labels = np.zeros(series.shape, np.uint8)
    labels[2:6, 4:9, 1:4] = 1
    write_volume(root / "of_dicom.nii.gz", labels, series_grid(series).affine)
    write_fold(root / "results" / "Dataset220_KiTS2023" / "ResUNetTrainer__KiTSCascadePlans__2d" / "fold_0", log([0]))
    for system in ("good", "poor"):
        assert main(["evaluate", str(root / system), str(root / "kits" / "dataset"), "--year", "23"]) == 0
    return root


@pytest.fixture
def stubs(monkeypatch, nnunet, tmp_path):
    """What takes minutes or a GPU answers at once."""
    (nnunet / "nnUNet_preprocessed" / "Dataset220_KiTS2023").mkdir()
    plans = nnunet / "nnUNet_preprocessed" / "Dataset220_KiTS2023" / "KiTSCascadePlans.json"
    plans.write_text('{"configurations": {"3d_fullres": {}}}')
    check = doctor.Check("Python", "ok", "3.11")
    outcome = Outcome("3d_fullres", tmp_path, 1, 0, 1)
    for name, answer in (
        ("doctor.run_checks", [check]),
        ("planning.planner.plan_dataset", (tmp_path / "KiTSCascadePlans.json", ["3d_lowres"])),
        ("preprocessing.dataset.preprocess_dataset", [outcome]),
        ("training.cascade.load_cascade", None),
        ("training.cascade.train_cascade", [["nnUNetv2_train", "220", "3d_lowres", "0"]]),
        ("inference.files.predict_files", {}),
        ("segment.segment", Segmented(tmp_path, None, tmp_path / "measures.csv", tmp_path / "pictures")),
        ("demo.run_demo", tmp_path / "report.html"),
    ):
        monkeypatch.setattr(f"nnunet_kits.{name}", lambda *arguments, answer=answer, **options: answer)


BEFORE = {"derive": ("convert",), "restore": ("convert", "derive")}
"""What makes the data of a verb."""


def line_of(verb, data, out):
    """Arguments with which a verb has something to do."""
    tree = data / "kits" / "dataset"
    lines = {
        "env": f"--root {out}",
        "phantom": f"{out} --cases 1 --size tiny",
        "convert": f"--year 23 {tree} -np 1",
        "derive": "-d 220 -o 221 --rule kidney_region --masks reference -np 1",
        "restore": f"{out.parent / 'nnUNet_raw' / 'Dataset221_KiTS2023KidneyRegion' / 'labelsTr'} {out} -d 221",
        "plan": "-d 220 --preset KiTSCascadePlans",
        "preprocess": "-d 220 -p KiTSCascadePlans",
        "cascade": "-d 220 -p KiTSCascadePlans --dry-run",
        "series": f"{data / 'dicom'}",
        "segment": f"{tree} -o {out}",
        "predict": f"-i {tree} -o {out} --fine {out}",
        "postprocess": f"{data / 'good'} {out} --chain clean",
        "evaluate": f"{data / 'good'} {tree} --year 23 -o {out}",
        "run": f"smoke --root {out} --dry-run",
        "status": f"{data / 'results'}",
        "rank": f"{data / 'good'} {data / 'poor'}",
        "compare": f"{data / 'good'} {data / 'poor'} --bootstrap 1000",
        "measure": f"{data / 'good'} -o {out}",
        "dicom": f"{data / 'of_dicom.nii.gz'} {data / 'dicom'} -o {out}",
        "report": f"--images {tree} --predictions {data / 'good'} --references {tree} -o {out.parent / 'r.html'}",
    }
    return [verb, *lines.get(verb, "").split(), "--json"]


def documented(verb):
    """Keys that the reference names for a verb, without those behind a semicolon; none where it names a file."""
    section = REFERENCE.read_text("utf-8").split("\n## JSON\n")[1]
    (row,) = re.findall(rf"^\| `{verb}` \| (.*) \|$", section, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row.partition(";")[0])))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_prints_one_json_document_and_nothing_else_with_the_documented_keys(
    verb, data, nnunet, stubs, tmp_path, capfd
):
    for earlier in BEFORE.get(verb, ()):
        assert main(line_of(earlier, data, tmp_path / "out")) == 0
    capfd.readouterr()
    assert main(line_of(verb, data, tmp_path / "out")) == 0
    found = json.loads(capfd.readouterr().out)
    if verb == "recipes":
        assert all(set(about) == documented(verb) for about in found.values())
    elif verb == "run":
        assert set(found) == {"environment", "steps"}
    elif keys := documented(verb):
        assert set(found) == keys
    if verb == "env":
        assert found["nnUNet_raw"] == str(tmp_path / "out" / "nnUNet_raw")
    if verb == "convert":
        assert (len(found["training"]), found["converted"], found["skipped"]) == (3, 3, {})
        assert found["next"][1] == "nnunet_kits plan -d 220 --preset KiTSCascadePlans"
    if verb == "derive":
        assert (len(found["training"]), found["derived"], found["skipped"]) == (3, 3, {})
    if verb == "restore":
        assert (len(found["restored"]), found["failed"]) == (3, {})
    if verb == "evaluate":
        assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    if verb == "status":
        assert [(fold["trainer"], fold["fold"], fold["epochs_done"]) for fold in found["folds"]] == [
            ("ResUNetTrainer", "0", 1)
        ]
    if verb == "rank":
        assert [row["team_name"] for row in found] == ["good", "poor"]
    if verb == "compare":
        assert found["Dice_tumor"]["first"] == 1
    if verb == "measure":
        assert found["measures"] == json.loads((tmp_path / "out" / "measures.json").read_text())
    if verb == "series":
        assert found["cases"]["dicom"]["taken"] == 1
    if verb == "dicom":
        assert found["written"]["of_dicom"]["segments"] == ["Kidney, right"]
    if verb == "report":
        assert found["mean"]["dice"] == {"kidney_and_mass": 1, "mass": 1, "tumor": 1}


def test_lists_and_a_trainers_parts_are_json_too(capfd):
    for line, keys in (("plan --list", preset_names()), ("trainers ZhangResUNetTrainer", ["network", "plans"])):
        assert main([*line.split(), "--json"]) == 0
        assert set(keys) <= set(json.loads(capfd.readouterr().out))
    assert main(["trainers", "--json"]) == 0
    published = json.loads(capfd.readouterr().out)["published"]
    assert set(published) < set(heads())


def test_a_failed_case_is_in_the_document_and_a_failed_verb_prints_none(data, stubs, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("nnunet_kits.inference.files.predict_files", lambda *_, **__: {"case_00001": "no memory"})
    assert main(line_of("predict", data, tmp_path / "out")) == 2
    captured = capfd.readouterr()
    assert json.loads(captured.out)["failed"] == {"case_00001": "no memory"}
    assert "nnunet_kits: error: case_00001: no memory" in captured.err
    assert main(["trainers", "ResUNetTrainer_Nothing", "--json"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("nnunet_kits: error: ResUNetTrainer_Nothing")


def test_what_a_verb_and_its_child_processes_print_goes_to_standard_error(monkeypatch, tmp_path, capfd):
    def noisy(*arguments):
        print("from the verb")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        return tmp_path

    monkeypatch.setattr("nnunet_kits.demo.run_demo", noisy)
    assert main(["demo", "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out) == {"report": str(tmp_path)}
    assert {"from the verb", "from a child"} <= set(captured.err.splitlines())
    assert main(["demo"]) == 0
    assert {"from the verb", "from a child"} <= set(capfd.readouterr().out.splitlines())


def test_a_number_that_cannot_be_given_is_null():
    text = as_json({"a": (float("nan"), float("inf"), 0.5), "b": Path("c")})
    assert json.loads(text) == {"a": [None, None, 0.5], "b": "c"}
