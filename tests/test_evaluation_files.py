"""``nnunet_kits evaluate`` on folders: the challenges' file, resuming, and bad input."""

import json
import os
import shutil
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from kits_trees import IPL, case_folder, labels_of, make_tree, save

from nnunet_kits import evaluation
from nnunet_kits.cli.main import main
from nnunet_kits.errors import EvaluationError, ImageError, KitsError
from nnunet_kits.evaluation import evaluate
from nnunet_kits.releases import RELEASES

HEADER = "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def worse(label, planes):
    """A prediction that misses the first rows."""
    found = label.copy()
    found[:, :planes] = 0
    return found


def write_cases(root, numbers):
    for number in numbers:
        label = labels_of(number, "23")
        save(root / "ref" / f"case_{number:05d}.nii.gz", label)
        save(root / "pred" / f"case_{number:05d}.nii.gz", worse(label, 3 + number % 3))
    return root / "pred", root / "ref"


@pytest.fixture
def folders(tmp_path):
    """Predictions of three cases, not quite right, and their references in a flat folder."""
    return write_cases(tmp_path, range(3))


def table(path):
    """Case -> numbers of a file in the challenge's format, as kits23/evaluation/ranking.py reads it."""
    content = np.loadtxt(path, dtype=str, delimiter=",")
    assert ",".join(content[0]) == HEADER
    return {row[0]: row[1:].astype(float) for row in content[1:]}


def test_the_csv_has_the_challenges_format_and_the_json_the_same_numbers(folders, capsys):
    pred, ref = folders
    assert main(["evaluate", str(pred), str(ref), "--year", "23", "--bootstrap", "200", "--hd95"]) == 0
    rows = table(pred / "evaluation.csv")
    assert list(rows) == ["case_00000", "case_00001", "case_00002", "average"]
    assert rows["average"] == pytest.approx(np.mean([rows[case] for case in list(rows)[:3]], axis=0), abs=1e-8)
    text = (pred / "evaluation.csv").read_text()
    assert not text.endswith("\n")  # as the challenge's code leaves it
    assert all(len(number.partition(".")[2]) == 8 for line in text.split("\n")[1:] for number in line.split(",")[1:])
    metrics = json.loads((pred / "metrics.json").read_text())
    scores = metrics["cases"]["case_00001"]
    assert [*scores["dice"].values(), *scores["surface_dice"].values()] == pytest.approx(rows["case_00001"], abs=1e-8)
    lower, upper = metrics["interval_95"]["Dice_kidney"]
    assert lower <= rows["average"][0] <= upper
    assert scores["hd95_mm"]["kidney_and_mass"] > 0
    assert metrics["tolerances_mm"] == RELEASES["23"].tolerances_mm
    printed = capsys.readouterr().out
    assert f"Dice_kidney     {rows['average'][0]:.4f}  95 % interval {lower:.4f} to {upper:.4f}" in printed
    assert "HD95 kidney_and_mass: " in printed
    assert sorted(path.name for path in pred.iterdir() if "case" not in path.name) == ["evaluation.csv", "metrics.json"]


def test_python_gives_the_numbers_of_the_command(folders, tmp_path):
    pred, ref = folders
    main(["evaluate", str(pred), str(ref), "--year", "23", "-o", str(tmp_path / "out")])
    found = evaluation.evaluate_folder(pred, ref, "2023", tmp_path / "again")
    assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    one = evaluation.evaluate_case(pred / "case_00000.nii.gz", ref / "case_00000.nii.gz", "23")
    assert json.loads(json.dumps(one)) == found["cases"]["case_00000"]
    arrays = [np.asarray(nib.load(folder / "case_00000.nii.gz").dataobj) for folder in folders]
    whole = evaluation.score_case(*arrays, (5.0, 0.75, 0.875), found["tolerances_mm"])
    assert whole["dice"] == one["dice"]
    assert whole["surface_dice"] == pytest.approx(one["surface_dice"], abs=1e-12)


def test_two_files_are_one_case(folders, tmp_path):
    files = [str(folder / "case_00001.nii.gz") for folder in folders]
    assert main(["evaluate", *files, "--year", "23", "-o", str(tmp_path / "out")]) == 0
    assert list(table(tmp_path / "out" / "evaluation.csv")) == ["case_00001", "average"]
    tree = make_tree(tmp_path / "tree", "23")
    label = case_folder(tree, 2) / "segmentation.nii.gz"
    assert list(evaluation.evaluate_folder(label, label, "23", tmp_path / "two")["cases"]) == ["case_00002"]
    with pytest.raises(EvaluationError, match=r"no such file\. Name two label maps, or two folders"):
        evaluation.evaluate_folder(folders[0], label, "23")


@pytest.mark.parametrize("year", ["19", "21", "23"])
def test_kits_folders_of_any_year_are_taken_on_both_sides(tmp_path, year):
    tree = make_tree(tmp_path / "tree", year)
    for number in (0, 1, 2):
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", labels_of(number, year))
    for predictions in (tmp_path / "pred", tree):
        found = evaluation.evaluate_folder(predictions, tree, year, tmp_path / "out")
        assert list(found["cases"]) == ["case_00000", "case_00001", "case_00002"]
        assert set(found["mean"]["dice"].values()) == {1.0}
    if year == "19":
        lines = (tmp_path / "out" / "evaluation.csv").read_text().split("\n")
        assert lines[0] == "caseID,Dice_kidney,Dice_tumor,Dice_composite"


def test_kits19s_composite_is_the_mean_of_kidney_and_tumor_dice(tmp_path):
    tree = make_tree(tmp_path / "tree", "19", training=(0,))
    prediction = labels_of(0, "19")
    prediction[prediction == 2] = 1
    save(tmp_path / "pred" / "case_00000.nii.gz", prediction)
    evaluation.evaluate_folder(tmp_path / "pred", tree, "19")
    lines = (tmp_path / "pred" / "evaluation.csv").read_text().split("\n")
    assert lines[1] == "case_00000,1.00000000,0.00000000,0.50000000"


def sampled_tree(root, cases):
    tree = make_tree(root / "tree", "21", training=(0, 1))
    for number in cases:
        label = labels_of(number, "21")
        other = np.where(label == 2, 1, label).astype(np.uint8)
        for group, sample in enumerate((label, other)):
            folder = case_folder(tree, number, "21") / "segmentation_samples" / f"group_{group}"
            save(folder / "kidney_i1a1_cyst_tumor_i1a1.nii.gz", sample)
    for number in (0, 1):
        save(root / "pred" / f"case_{number:05d}.nii.gz", labels_of(number, "21"))
    return root / "pred", tree


def test_kits21_is_also_scored_over_its_groups_of_sampled_segmentations(tmp_path):
    pred, tree = sampled_tree(tmp_path, (0, 1))
    found = evaluation.evaluate_folder(pred, tree, "21")
    assert found["mean"]["dice"]["tumor"] == 1.0
    assert found["mean_over_samples"]["dice"]["tumor"] == 0.5
    assert table(pred / "evaluation.csv")["average"][2] == 1.0
    assert table(pred / "evaluation_samples.csv")["average"][2] == 0.5
    assert "mean_over_samples" not in evaluation.evaluate_folder(pred, tree, "21", tmp_path / "out", samples=False)


def test_samples_of_some_cases_only_are_refused(tmp_path):
    pred, tree = sampled_tree(tmp_path, (1,))
    with pytest.raises(EvaluationError, match="no segmentation_samples of case_00000, but 1 other cases have them"):
        evaluation.evaluate_folder(pred, tree, "21")


def test_other_tolerances_may_be_asked_for(folders, tmp_path, capsys):
    pred, ref = folders
    command = ["evaluate", str(pred), str(ref), "--year", "23", "-o", str(tmp_path / "out"), "--tolerances-mm"]
    assert main([*command, "20", "20", "20"]) == 0
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["tolerances_mm"] == {"kidney_and_mass": 20.0, "mass": 20.0, "tumor": 20.0}
    assert found["mean"]["surface_dice"]["kidney_and_mass"] == 1.0
    for wrong in ("-1", "nan", "inf"):
        assert main([*command, "1", wrong, "1"]) == 2
        assert f"tolerances 1, {wrong}, 1 mm: KiTS23 needs 3, none below 0" in capsys.readouterr().err


def rewrite(path, array, affine=IPL):
    save(path, array, affine)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 0x01  # of the checksum
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda f: rewrite(f, np.zeros((6, 10, 11), np.uint8)), EvaluationError, r"case_00001: .*\(6, 10, 11\)"),
        (lambda f: rewrite(f, labels_of(1, "23"), IPL @ np.diag([1, 1.01, 1, 1])), EvaluationError,
         r"case_00001: the affines of .* differ by up to 0.0\d+ mm \(allowed 0.01 mm\), with voxels of .*0.75"),
        (lambda f: rewrite(f, labels_of(1, "23"), np.diag([-1, 1, 1, 1]) @ IPL), EvaluationError, "01: the affines"),
        (lambda f: rewrite(f, labels_of(1, "23") * 3), ImageError, "case_00001: .*case_00001.* holds the value 6"),
        (lambda f: f.write_bytes(f.read_bytes()[:-20]), ImageError, "case_00001: .*truncated"),
        (flip, ImageError, "case_00001: .*damaged"),
        (lambda f: f.unlink(), EvaluationError, "no prediction of case_00001, of which"),
        (lambda f: shutil.copy(f, f.with_suffix("")), ImageError, "case_00001: both .* Move one"),
    ],
    ids=["shape", "spacing", "affine", "label", "truncated", "checksum", "missing", "twice"],
)  # fmt: skip
@pytest.mark.parametrize("side", [0, 1], ids=["prediction", "reference"])
def test_bad_input_names_the_case_and_never_becomes_a_number(folders, change, error, said, side):
    change(folders[side] / "case_00001.nii.gz")
    if side == 1:
        said = said.replace("no prediction", "no reference")
    with pytest.raises(error, match=said):
        evaluation.evaluate_folder(*folders, "23")
    assert not (folders[0] / "evaluation.csv").exists()


@pytest.mark.parametrize("name", ["a,b", 'a"b', "a\nb"])
def test_a_name_that_breaks_the_challenges_file_is_refused_before_anything_is_scored(folders, name):
    for folder in folders:
        (folder / "case_00001.nii.gz").rename(folder / f"{name}.nii.gz")
    with pytest.raises(EvaluationError, match=r"holds a sign that the challenges' evaluation\.csv has no place for"):
        evaluation.evaluate_folder(*folders, "23")
    assert not list(folders[0].glob("*evaluation*"))


def test_only_what_is_predicted_is_scored_on_request(folders, capsys):
    pred, ref = folders
    (pred / "case_00001.nii.gz").unlink()
    assert main(["evaluate", str(pred), str(ref), "--year", "23"]) == 2
    assert "no prediction of case_00001" in capsys.readouterr().err
    assert main(["evaluate", str(pred), str(ref), "--year", "23", "--partly"]) == 0
    assert list(table(pred / "evaluation.csv")) == ["case_00000", "case_00002", "average"]


def test_folders_that_hold_nothing_to_score_are_refused(folders, tmp_path):
    pred, ref = folders
    (tmp_path / "empty").mkdir()
    for names, said in (
        (
            (tmp_path / "empty", ref, "23"),
            r"empty: holds no \.nii\.gz or \.nii file and no case_XXXXX folder with",
        ),
        ((tmp_path / "none", ref, "23"), "none: no such file or folder"),
        ((pred, make_tree(tmp_path / "tree", "21"), "23"), "hold no segmentation.nii.gz, the label map of KiTS23"),
    ):
        with pytest.raises(ImageError, match=said):
            evaluation.evaluate_folder(*names)
    with pytest.raises(KitsError, match=rf"no KiTS release of year '20'\. Known: {', '.join(RELEASES)}"):
        evaluation.evaluate_folder(pred, ref, "20")


def test_a_folder_that_cannot_be_written_to_is_named(folders, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvaluationError, match=r"file/out: cannot be written to .* Name another with -o"):
        evaluation.evaluate_folder(*folders, "23", tmp_path / "file" / "out")


KILL_AT_120 = """
import os, signal, sys
from pathlib import Path
from nnunet_kits.evaluation import evaluate
score, count = evaluate.score_pair, 0
def score_or_die(task):
    global count
    if count == 120:
        os.kill(os.getpid(), signal.SIGKILL)
    count += 1
    return score(task)
evaluate.score_pair = score_or_die
evaluate.evaluate_folder(Path(sys.argv[1]), Path(sys.argv[2]), "23")
"""


def test_two_hundred_cases_killed_in_the_middle_go_on_and_lose_nothing(tmp_path, monkeypatch, caplog):
    pred, ref = write_cases(tmp_path, range(200))
    killed = subprocess.run([sys.executable, "-c", KILL_AT_120, str(pred), str(ref)], env=ENVIRONMENT)
    assert killed.returncode == -signal.SIGKILL
    left = pred / evaluate.JOURNAL_FILE
    assert not (pred / "evaluation.csv").exists()
    assert len(left.read_text().splitlines()) == 120
    left.write_text(left.read_text() + '["cut sh')  # as a kill amid a line leaves it
    scored, real = [], evaluate.score_pair
    monkeypatch.setattr(evaluate, "score_pair", lambda task: scored.append(task[0].case) or real(task))
    caplog.set_level("INFO", "nnunet_kits")
    found = evaluation.evaluate_folder(pred, ref, "23")
    assert caplog.messages[:2] == ["120 of 200 cases were scored before", "121 of 200: case_00120"]
    assert caplog.messages[-1] == "200 of 200: case_00199"
    assert len(scored) == 80
    assert list(found["cases"]) == [f"case_{number:05d}" for number in range(200)]
    assert found == evaluation.evaluate_folder(pred, ref, "23", tmp_path / "afresh")
    assert (pred / "evaluation.csv").read_text() == (tmp_path / "afresh" / "evaluation.csv").read_text()
    assert not left.exists()


def test_what_was_scored_otherwise_or_of_another_file_is_scored_again(folders, monkeypatch):
    pred, ref = folders
    real, scored = evaluate.score_pair, []

    def stop_after_two(task):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(task[0].case)
        return real(task)

    monkeypatch.setattr(evaluate, "score_pair", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_folder(pred, ref, "23")
    save(pred / "case_00000.nii.gz", labels_of(0, "23"))
    monkeypatch.setattr(evaluate, "score_pair", lambda task: scored.append(task[0].case) or real(task))
    scored.clear()
    found = evaluation.evaluate_folder(pred, ref, "23", hd95=False)
    assert scored == ["case_00000", "case_00002"]
    assert found["cases"]["case_00000"]["dice"]["kidney_and_mass"] == 1.0


def test_several_processes_give_the_same_numbers(folders, tmp_path):
    one = evaluation.evaluate_folder(*folders, "23", tmp_path / "one")
    assert evaluation.evaluate_folder(*folders, "23", tmp_path / "two", workers=2) == one


def test_an_error_in_a_worker_comes_through_and_names_the_case(folders):
    flip(folders[0] / "case_00001.nii.gz")
    with pytest.raises(ImageError, match=r"case_00001: .*damaged"):
        evaluation.evaluate_folder(*folders, "23", workers=2)


def test_processes_are_started_only_for_many_cases(monkeypatch):
    monkeypatch.setattr("nnunet_kits.cases.memory.cpu_count", lambda: 8)
    assert [evaluate.default_workers(cases) for cases in (0, 3, 16, 1000)] == [1, 1, 2, 8]


def test_scoring_a_case_imports_neither_scipy_nor_torch_nor_simpleitk(folders):
    files = [str(folder / "case_00001.nii.gz") for folder in folders]
    code = (
        "import sys; from pathlib import Path; from nnunet_kits.evaluation import evaluate_case\n"
        "evaluate_case(*map(Path, sys.argv[1:]), '23')\n"
        "assert not {'scipy.ndimage', 'torch', 'SimpleITK'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, *files], env=ENVIRONMENT, check=True)
