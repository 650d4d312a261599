"""``nnunet_kits evaluate``, ``rank`` and ``compare`` on folders."""

import json

import nibabel as nib
import numpy as np
import pytest
from kits_trees import IPL, case_folder, labels_of, make_tree, save
from scipy import stats

from nnunet_kits import evaluation
from nnunet_kits.cli.main import main
from nnunet_kits.errors import EvaluationError, ImageError
from nnunet_kits.evaluation import evaluate
from nnunet_kits.evaluation.ranking import compare_systems, rank_systems
from nnunet_kits.images import read_label_planes


@pytest.fixture
def folders(tmp_path):
    """Predictions of three cases, not quite right, and their references in a flat folder."""
    for number in range(3):
        label = labels_of(number, "23")
        save(tmp_path / "ref" / f"case_{number:05d}.nii.gz", label)
        worse = label.copy()
        worse[:, : 3 + number] = 0
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", worse)
    return tmp_path / "pred", tmp_path / "ref"


def test_the_csv_has_the_challenges_format_and_the_json_the_same_numbers(folders, capsys):
    pred, ref = folders
    assert main(["evaluate", str(pred), str(ref), "--year", "23", "--bootstrap", "200", "--hd95"]) == 0
    lines = (pred / "evaluation.csv").read_text().split("\n")
    assert lines[0] == "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor"
    assert [line.split(",")[0] for line in lines[1:]] == ["case_00000", "case_00001", "case_00002", "average"]
    table = np.array([[float(cell) for cell in line.split(",")[1:]] for line in lines[1:]])
    assert np.allclose(table[:3].mean(0), table[3], atol=1e-8)
    metrics = json.loads((pred / "metrics.json").read_text())
    assert metrics["cases"]["case_00001"]["dice"]["mass"] == pytest.approx(table[1, 1], abs=1e-8)
    lower, upper = metrics["interval_95"]["dice"]["kidney_and_mass"]
    assert lower <= table[3, 0] <= upper
    assert metrics["cases"]["case_00002"]["hd95_mm"]["kidney_and_mass"] > 0
    assert "Dice_kidney" in capsys.readouterr().out
    assert not list(pred.glob(".evaluation*"))


def test_python_gives_the_numbers_of_the_command(folders, tmp_path):
    pred, ref = folders
    main(["evaluate", str(pred), str(ref), "--year", "23", "-o", str(tmp_path / "out")])
    found = evaluation.evaluate_folder(pred, ref, "23", tmp_path / "again")
    assert found == json.loads((tmp_path / "out" / "metrics.json").read_text())
    label = np.asarray(nib.load(ref / "case_00000.nii.gz").dataobj).T
    worse = np.asarray(nib.load(pred / "case_00000.nii.gz").dataobj).T
    single = evaluation.score_case(worse, label, (0.875, 0.75, 5.0), found["tolerances_mm"])
    assert single["surface_dice"] == pytest.approx(found["cases"]["case_00000"]["surface_dice"])


@pytest.mark.parametrize("year", ["19", "21", "23"])
def test_references_are_found_in_a_kits_folder_of_any_year(tmp_path, year):
    tree = make_tree(tmp_path / "tree", year)
    for number in (0, 2):
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", labels_of(number, year))
    found = evaluation.evaluate_folder(tmp_path / "pred", tree, year)
    assert set(found["cases"]) == {"case_00000", "case_00002"}
    assert set(found["mean"]["dice"].values()) == {1.0}
    if year == "19":
        header = (tmp_path / "pred" / "evaluation.csv").read_text().split("\n")[0]
        assert header == "caseID,Dice_kidney,Dice_tumor,Dice_composite"


def test_kits21_is_also_scored_over_its_sampled_segmentations(tmp_path):
    tree = make_tree(tmp_path / "tree", "21", training=(0,))
    label = labels_of(0, "21")
    save(tmp_path / "pred" / "case_00000.nii.gz", label)
    other = label.copy()
    other[label == 2] = 1
    for number, sample in enumerate((label, other)):
        save(case_folder(tree, 0, "21") / "segmentation_samples" / "group_0" / f"sample_{number}.nii.gz", sample)
    found = evaluation.evaluate_folder(tmp_path / "pred", tree, "21")
    assert found["mean"]["dice"]["tumor"] == 1.0
    assert found["mean_over_samples"]["dice"]["tumor"] == 0.5
    assert (tmp_path / "pred" / "evaluation_samples.csv").read_text().split("\n")[-1].startswith("average,")


def replace(path, array=None, affine=IPL, text=None):
    if text is not None:
        path.write_bytes(text)
    else:
        save(path, array, affine)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda f: replace(f, np.zeros((6, 10, 11), np.uint8)), ImageError, r"case_00001: .* \(6, 10, 11\)"),
        (lambda f: replace(f, labels_of(1, "23"), np.diag([1.0, 1, 1, 1])), ImageError, "case_00001: the affines"),
        (lambda f: replace(f, labels_of(1, "23") * 3), EvaluationError, "case_00001: .* holds label 6, but KiTS23 has"),
        (lambda f: replace(f, text=f.read_bytes()[:-20]), ImageError, "case_00001.*truncated"),
        (lambda f: f.unlink(), EvaluationError, "no prediction of case_00001"),
        (lambda f: f.rename(f.with_name("case_00007.nii.gz")), EvaluationError, "no prediction of case_00001"),
    ],
    ids=["shape", "affine", "label", "truncated", "missing", "renamed"],
)  # fmt: skip
@pytest.mark.parametrize("side", ["pred", "ref"])
def test_bad_input_names_the_case_and_never_becomes_a_number(folders, change, error, said, side):
    pred, ref = folders
    change((pred if side == "pred" else ref) / "case_00001.nii.gz")
    if side == "ref":
        said = said.replace("no prediction of case_00001", "no reference of case_00001|no prediction of case_00007")
    with pytest.raises(error, match=said):
        evaluation.evaluate_folder(pred, ref, "23")
    assert not (pred / "evaluation.csv").exists()


def test_a_flipped_byte_is_noticed(folders):
    pred, ref = folders
    file = pred / "case_00001.nii.gz"
    content = bytearray(file.read_bytes())
    content[-6] ^= 0xFF  # of the checksum
    file.write_bytes(content)
    with pytest.raises(ImageError, match=r"case_00001.*damaged"):
        evaluation.evaluate_folder(pred, ref, "23")


def test_some_cases_can_be_scored_on_request(folders):
    pred, ref = folders
    (pred / "case_00001.nii.gz").unlink()
    assert len(evaluation.evaluate_folder(pred, ref, "23", partly=True)["cases"]) == 2


def test_an_unknown_year_and_an_empty_folder_are_refused(folders, tmp_path):
    with pytest.raises(EvaluationError, match="no KiTS evaluation of year '20'"):
        evaluation.evaluate_folder(*folders, "20")
    with pytest.raises(EvaluationError, match=r"holds no \.nii\.gz file"):
        evaluation.evaluate_folder(tmp_path, folders[1], "23")


def test_two_hundred_cases_killed_in_the_middle_go_on_and_lose_nothing(tmp_path, monkeypatch):
    for number in range(200):
        label = labels_of(number, "23")
        save(tmp_path / "ref" / f"case_{number:05d}.nii.gz", label)
        save(tmp_path / "pred" / f"case_{number:05d}.nii.gz", np.roll(label, number % 3, 1))
    scored = []
    real = evaluate.score_pair

    def stop_at_120(pair, **options):
        if len(scored) == 120:
            raise KeyboardInterrupt
        scored.append(pair.case)
        return real(pair, **options)

    monkeypatch.setattr(evaluate, "score_pair", stop_at_120)
    with pytest.raises(KeyboardInterrupt):
        evaluation.evaluate_folder(tmp_path / "pred", tmp_path / "ref", "23")
    partial_file = tmp_path / "pred" / evaluate.PARTIAL
    partial_file.write_text(partial_file.read_text() + '{"key": "cut sh')  # as a kill leaves it
    scored.clear()
    monkeypatch.setattr(
        evaluate, "score_pair", lambda pair, **options: scored.append(pair.case) or real(pair, **options)
    )
    found = evaluation.evaluate_folder(tmp_path / "pred", tmp_path / "ref", "23")
    assert len(scored) == 80
    assert len(found["cases"]) == 200
    assert found == evaluation.evaluate_folder(tmp_path / "pred", tmp_path / "ref", "23", tmp_path / "other")


def test_a_changed_prediction_is_scored_again(folders):
    pred, ref = folders
    before = evaluation.evaluate_folder(pred, ref, "23")
    save(pred / "case_00000.nii.gz", labels_of(0, "23"))
    assert evaluation.evaluate_folder(pred, ref, "23")["mean"] != before["mean"]


@pytest.mark.slow
def test_several_processes_give_the_same_numbers(folders, tmp_path):
    pred, ref = folders
    one = evaluation.evaluate_folder(pred, ref, "23", tmp_path / "one")
    assert evaluation.evaluate_folder(pred, ref, "23", tmp_path / "two", workers=2) == one


def write_system(folder, dice, sd, cases=2):
    folder.mkdir(parents=True)
    rows = [[f"case_{i:05d}", *dice, *sd] for i in range(cases)] + [["average", *dice, *sd]]
    header = "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor"
    (folder / "evaluation.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return folder


def test_systems_are_ranked_by_dice_and_surface_dice_and_ties_by_tumor_dice(tmp_path, capsys):
    a = write_system(tmp_path / "a", (0.9, 0.8, 0.7), (0.5, 0.5, 0.5))  # Dice 1st, SD 2nd
    b = write_system(tmp_path / "b", (0.9, 0.7, 0.71), (0.6, 0.6, 0.6))  # Dice 2nd, SD 1st
    c = write_system(tmp_path / "c", (0.5, 0.5, 0.99), (0.1, 0.1, 0.1))
    rows = rank_systems([a, b, c])
    assert [(row["team_name"], row["final_rank"], row["mean_rank"]) for row in rows] == [
        ("b", 1, 1.5),
        ("a", 2, 1.5),
        ("c", 3, 3.0),
    ]
    assert main(["rank", str(a), str(b), str(c), "-o", str(tmp_path / "ranking.csv")]) == 0
    written = (tmp_path / "ranking.csv").read_text().splitlines()
    assert written[0] == "team_name,final_rank,mean_rank,mean_dice,mean_sd,tumor_dice"
    assert written[1] == "b,1,1.5000,0.77000000,0.60000000,0.71000000"


def test_equal_systems_share_a_rank(tmp_path):
    systems = [write_system(tmp_path / name, (0.9, 0.8, 0.7), (0.5, 0.5, 0.5)) for name in "ab"]
    assert [row["final_rank"] for row in rank_systems(systems)] == [1, 1]


def test_systems_that_cannot_be_ranked_are_refused(tmp_path):
    a = write_system(tmp_path / "a", (0.9, 0.8, 0.7), (0.5, 0.5, 0.5))
    b = write_system(tmp_path / "b", (0.9, 0.8, 0.7), (0.5, 0.5, 0.5), cases=3)
    with pytest.raises(EvaluationError, match="were scored on different cases: case_00002"):
        rank_systems([a, b])
    with pytest.raises(EvaluationError, match="two systems have one name"):
        rank_systems([a, a])
    with pytest.raises(EvaluationError, match=r"holds no evaluation\.csv"):
        rank_systems([a, tmp_path])
    (b / "evaluation.csv").write_text("x,y\n1,2\n")
    with pytest.raises(EvaluationError, match="is not the challenges' format"):
        rank_systems([b])


def test_a_comparison_is_paired(tmp_path, capsys):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.5, 0.9, 12)
    better = scores + np.linspace(0.01, 0.03, 12)
    for name, values in (("a", scores), ("b", better)):
        rows = [[f"case_{i:05d}", *[v] * 6] for i, v in enumerate(values)]
        rows.append(["average", *[values.mean()] * 6])
        write_system(tmp_path / name, (0, 0, 0), (0, 0, 0))
        header = "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor"
        (tmp_path / name / "evaluation.csv").write_text("\n".join([header, *(",".join(map(str, r)) for r in rows)]))
    found = compare_systems(tmp_path / "a", tmp_path / "b")["Dice_tumor"]
    assert found["difference"] == pytest.approx(0.02)
    assert 0.01 < found["interval_95"][0] < 0.02 < found["interval_95"][1] < 0.03
    assert found["p_wilcoxon"] == pytest.approx(float(stats.wilcoxon(better, scores).pvalue))
    assert compare_systems(tmp_path / "a", tmp_path / "a")["SD_tumor"]["p_wilcoxon"] == 1.0
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "+0.0200" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<i2", "<f4", "<f8"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_label_planes_hold_all_foreground_of_any_file(tmp_path, dtype, ending, monkeypatch):
    monkeypatch.setattr("nnunet_kits.images.PIECE_BYTES", 300)  # several pieces
    label = np.zeros((5, 6, 40), dtype)
    label[2, 3, 7] = label[1, 1, 30] = 3
    nib.save(nib.Nifti1Image(label, IPL), tmp_path / f"a{ending}")
    found = read_label_planes(tmp_path / f"a{ending}")
    assert (found.start, found.array.shape, found.array.dtype) == (7, (5, 6, 24), np.uint8)
    assert np.array_equal(found.array, label[:, :, 7:31])
    nib.save(nib.Nifti1Image(label * 0, IPL), tmp_path / f"b{ending}")
    assert read_label_planes(tmp_path / f"b{ending}").array.shape == (5, 6, 0)


@pytest.mark.parametrize("value", [0.5, -1.0, 300.0, np.nan])
def test_a_value_that_is_no_label_is_refused(tmp_path, value):
    label = np.zeros((5, 6, 8))
    label[2, 3, 4] = value
    nib.save(nib.Nifti1Image(label, IPL), tmp_path / "a.nii.gz")
    with pytest.raises(ImageError, match="labels are integers from 0 to 255"):
        read_label_planes(tmp_path / "a.nii.gz")
