"""``compare`` of two cross-validations: valid tests, by case, by fold and by the tumours' volume."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from small_scores import case, many, write_metrics

from nnunet_kits.cli.main import main
from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.cross_validation import compare_scored
from nnunet_kits.evaluation.paired import FEWEST_FOR_BOOTSTRAP, holm, p_sign_flip, paired_rows, smallest_p
from nnunet_kits.evaluation.scored import read_scored
from nnunet_kits.evaluation.statistics import resampled_means
from nnunet_kits.evaluation.strata import BOUNDS_ML, lesion_table, stratum_of

# tests of paired differences


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-5.0, -2.0, -1.0, 0.0, 1.0, 3.0]), min_size=2, max_size=10))
def test_sign_flips_are_counted_as_scipys_exact_permutation_test_does(differences):
    first = np.array(differences)
    theirs = stats.permutation_test(
        (first, np.zeros(len(first))),
        lambda a, b, axis=-1: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert p_sign_flip(first, 1000) == pytest.approx(theirs.pvalue)
    assert p_sign_flip(first / 10, 1000) == p_sign_flip(first, 1000), "sums of tenths that are equal count as equal"


def test_with_many_cases_signs_are_drawn_and_the_p_is_near_the_exact_one():
    differences = np.random.default_rng(3).normal(0.4, 1, 18)
    sums = np.array([0.0])
    for value in differences:
        sums = np.concatenate([sums + value, sums - value])
    exact = (np.abs(sums) >= abs(differences.sum()) - 1e-12).mean()
    drawn = p_sign_flip(differences, 20000)
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20000))
    assert p_sign_flip(np.ones(50), 1000) == 1 / 1001


def test_a_p_is_uniform_where_there_is_no_difference_with_three_cases_too():
    draws = np.random.default_rng(0).normal(size=(2000, 3))
    found = np.array([p_sign_flip(row, 1000) for row in draws])
    assert set(found) == {0.25, 0.5, 0.75, 1.0}
    assert [(found <= p).mean() for p in (0.25, 0.5, 0.75)] == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


@pytest.mark.parametrize(("cases", "misses"), [(5, 0.17), (10, 0.10), (20, 0.07)])
def test_the_bootstrap_misses_more_often_than_5_percent_with_few_cases(cases, misses):
    columns = np.random.default_rng(1).normal(size=(cases, 2000))
    lower, upper = np.quantile(resampled_means(columns, 1000), (0.025, 0.975), axis=0)
    assert ((lower > 0) | (upper < 0)).mean() == pytest.approx(misses, abs=0.015)


@pytest.mark.parametrize(("cases", "least"), [(1, 1.0), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_the_least_p_is_that_of_scores_which_all_differ_in_one_direction(cases, least):
    differences = np.linspace(0.1, 0.2, cases)
    assert p_sign_flip(differences, 1000) == smallest_p(differences) == least
    if cases > 1:
        assert stats.wilcoxon(differences).pvalue == pytest.approx(least)


def test_holms_correction_is_that_of_rs_p_adjust():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_row_has_the_means_the_tests_and_their_correction():
    generator = np.random.default_rng(0)
    first = generator.uniform(0.4, 0.8, (30, 2))
    second = first + generator.normal([0.02, 0.0], 0.05, (30, 2))
    rows = paired_rows(["a", "b"], first, second, 2000)
    difference = (second - first)[:, 0]
    assert rows["a"]["difference"] == pytest.approx(difference.mean())
    assert rows["a"]["p_wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert rows["a"]["p_sign_flip"] == pytest.approx(stats.ttest_1samp(difference, 0).pvalue, abs=0.02)
    least, other = sorted(row["p_sign_flip"] for row in rows.values())
    assert sorted(row["p_holm"] for row in rows.values()) == pytest.approx([2 * least, max(2 * least, other)])


# strata and lesions


def test_strata_are_told_by_their_bounds():
    bounds = sorted(BOUNDS_ML)
    assert bounds == [4.0, 32.0]
    volumes = [0.0, 0.1, 3.99, 4.0, 31.0, 32.0, 2000.0]
    assert [stratum_of(ml, bounds) for ml in volumes] == [
        *("no tumor", "under 4 mL", "under 4 mL", "4 to 32 mL", "4 to 32 mL", "32 mL and more", "32 mL and more"),
    ]
    assert stratum_of(5.0, []) == "any size"


def test_lesions_are_paired_and_tested_by_those_that_one_system_alone_detects():
    volumes = [1.0] * 8 + [50.0] * 3
    first = {"reference": [{"volume_ml": ml, "detected": i == 0 or ml > 4} for i, ml in enumerate(volumes)]}
    second = {"reference": [{"volume_ml": ml, "detected": i > 0} for i, ml in enumerate(volumes)]}
    table = lesion_table([(first, second)], [4.0, 32.0])
    assert list(table) == ["under 4 mL", "32 mL and more", "all"]
    small = table["under 4 mL"]
    assert [small[key] for key in ("lesions", "first", "second", "only_first", "only_second")] == [8, 1, 7, 1, 7]
    p = 2 * sum(stats.binom.pmf(k, 8, 0.5) for k in (0, 1))
    assert small["p_mcnemar"] == pytest.approx(p)
    assert table["32 mL and more"]["p_mcnemar"] == 1.0
    assert small["p_holm"] == table["all"]["p_holm"] == pytest.approx(3 * p)


# two systems


@pytest.fixture
def systems(tmp_path):
    """(first, second) metrics.json: forty cases in four folds, the tumour Dice of the second better by 0.05."""
    ours, folds = many(seed=1)
    theirs, _ = many(better=0.05, seed=2)
    return write_metrics(tmp_path / "a", ours, folds), write_metrics(tmp_path / "b", theirs, folds)


def test_two_cross_validations_are_compared_by_case_by_fold_and_by_size(systems):
    first, second = (read_scored(path) for path in systems)
    found = compare_scored(first, second)
    dice = np.array([[s.cases[c]["dice"]["tumor"] for c in first.cases] for s in (first, second)])
    difference = dice[1] - dice[0]
    row = found["scores"]["Dice_tumor"]
    assert (row["cases"], row["difference"]) == (40, pytest.approx(difference.mean()))
    assert row["p_wilcoxon"] == pytest.approx(stats.wilcoxon(difference).pvalue)
    assert row["p_sign_flip"] < row["p_holm"] < 0.01
    assert list(found["folds"]) == [f"fold_{fold}" for fold in range(4)]
    fold = found["folds"]["fold_1"]["Dice_tumor"]
    assert fold["difference"] == pytest.approx(difference[1::4].mean())
    assert (fold["cases"], fold["interval_95"], fold["p_bootstrap"]) == (10, None, None)
    volumes = np.array([sum(t["volume_ml"] for t in s["tumors"]["reference"]) for s in first.cases.values()])
    for stratum, chosen in (("under 4 mL", volumes < 4), ("4 to 32 mL", (volumes >= 4) & (volumes < 32))):
        size = found["sizes"][stratum]["Dice_tumor"]
        assert (size["cases"], size["difference"]) == (chosen.sum(), pytest.approx(difference[chosen].mean()))
    lesions = found["lesions"]
    assert lesions["all"]["lesions"] == sum(lesions[name]["lesions"] for name in lesions if name != "all") == 60
    assert lesions["32 mL and more"]["first"] == lesions["32 mL and more"]["lesions"]
    false = [[len(s.cases[c]["tumors"]["false_positives"]) for c in first.cases] for s in (first, second)]
    assert (found["false_tumors"]["first"], found["false_tumors"]["second"]) == pytest.approx(
        tuple(np.mean(false, axis=1))
    )
    assert found["false_tumors"]["fewer"] == sum(b < a for a, b in zip(*false, strict=True))
    assert found["notes"] == []


def test_all_tests_of_a_table_are_one_family(systems):
    found = compare_scored(*(read_scored(path) for path in systems))
    for key in ("folds", "sizes"):
        rows = [row for table in found[key].values() for row in table.values()]
        assert [row["p_holm"] for row in rows] == pytest.approx(holm([row["p_sign_flip"] for row in rows]))


def test_few_cases_are_said_to_be_too_few_and_get_no_bootstrap(tmp_path, capsys):
    better = [{f"case_{i}": case([0.5 + by, 0.5 + by, 0.5 + i / 10 + by]) for i in range(3)} for by in (0.0, 0.1)]
    files = [str(write_metrics(tmp_path / name, cases)) for name, cases in zip("ab", better, strict=True)]
    assert main(["compare", *files]) == 0
    told = capsys.readouterr().out
    (line,) = (line for line in told.splitlines() if line.startswith("Dice_tumor"))
    assert line.split() == ["Dice_tumor", *"0.6000 0.7000 +0.1000 too few too few 0.25 0.25 1 3/0/0".split()]
    assert (
        f"3 cases are too few for the bootstrap, whose interval and p are too sure below {FEWEST_FOR_BOOTSTRAP}" in told
    )
    assert "no exact test can give a p below 0.25, so they cannot show which system is better" in told


def test_cases_that_one_alone_has_are_named_and_left_out(systems):
    second = systems[1]
    content = json.loads(second.read_text())
    content["cases"]["case_90000"] = content["cases"].pop("case_00003")
    second.write_text(json.dumps(content))
    found = compare_scored(*(read_scored(path) for path in systems))
    assert (found["only_first"], found["only_second"], len(found["cases"])) == (["case_00003"], ["case_90000"], 39)
    assert "only a has case_00003: left out." in found["notes"]
    assert found["folds"]["fold_3"]["Dice_tumor"]["cases"] == 9
    content["cases"] = {"case_90000": content["cases"]["case_90000"]}
    second.write_text(json.dumps(content))
    with pytest.raises(EvaluationError, match="a and b have no case in common: case_00000 and case_90000, for example"):
        compare_scored(*(read_scored(path) for path in systems))


def test_other_folds_are_told_and_not_compared(systems, tmp_path):
    first, second = (read_scored(path) for path in systems)
    cases = dict(second.cases)
    other = read_scored(write_metrics(tmp_path / "c", cases, {"fold_0": [*cases][:20], "fold_1": [*cases][20:]}))
    none = read_scored(write_metrics(tmp_path / "d", cases))
    assert compare_scored(first, other, 1000)["notes"] == [
        "their folds hold different cases, so nothing is told by fold."
    ]
    found = compare_scored(first, none, 1000)
    assert found["folds"] == {}
    assert found["notes"] == ["not both were scored by folds (evaluate --model does), so nothing is told by fold."]


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(year="21"), r"were scored by different rules: KiTS23, tolerances of 1 mm, and KiTS21"),
        (
            lambda c: c.update(tolerances_mm={"kidney_and_mass": 2.0}),
            "different rules: KiTS23, tolerances of 1 mm, and",
        ),
        (
            lambda c: c["cases"]["case_00002"]["volume_ml"].update(kidney=[1, 201.0]),
            r"case_00002: its reference is not the same for a and b: kidney of 200\.0000 and 201\.0000 mL",
        ),
        (
            lambda c: c["cases"]["case_00001"]["tumors"]["reference"].pop(),
            r"case_00001: its reference is not the same for a and b: single tumors of .*, .* and .* mL",
        ),
    ],
)
def test_other_rules_and_other_references_are_refused(change, said, systems):
    changed(systems[1], change)
    with pytest.raises(EvaluationError, match=said):
        compare_scored(*(read_scored(path) for path in systems))


def test_scores_that_only_one_has_and_cases_without_tumor_label_are_left_out_with_a_word(systems):
    def without(content):
        for scores in content["cases"].values():
            del scores["surface_dice"]["mass"], scores["tumors"], scores["volume_ml"]["tumor"]

    for path in systems:
        changed(path, without)
    changed(systems[0], lambda c: [s["surface_dice"].pop("tumor") for s in c["cases"].values()])
    found = compare_scored(*(read_scored(path) for path in systems), resamplings=1000)
    assert (found["sizes"], found["lesions"], found["false_tumors"]) == ({}, {}, {})
    assert "SD_tumor" not in found["scores"]
    assert found["notes"] == [
        "only one of them is scored by SD_tumor: left out.",
        "not all cases have a tumor label, so nothing is told by size.",
    ]


def test_runs_and_models_are_found_by_their_folders_and_what_is_none_is_refused(systems, tmp_path):
    run = tmp_path / "root" / "runs" / "kits23_mine"
    model = tmp_path / "root" / "ResUNetTrainer__KiTSCascadePlans__3d_fullres"
    cases, folds = many()
    for folder, sign in ((run, "steps.json"), (model, "dataset.json")):
        write_metrics(folder / "evaluation", cases, folds)
        (folder / sign).write_text("{}")
    assert [read_scored(path).name for path in (run, model, systems[0])] == ["kits23_mine", model.name, "a"]
    assert main(["compare", str(run), str(model), "--bootstrap", "1000", "-o", str(tmp_path / "c.json")]) == 0
    assert json.loads((tmp_path / "c.json").read_text())["scores"]["Dice_tumor"]["equal"] == 40
    (model / "evaluation" / "metrics.json").unlink()
    with pytest.raises(EvaluationError, match=r"there is no .*metrics\.json\. nnunet_kits evaluate --model writes it"):
        read_scored(model)
    good = json.dumps({"cases": {"a": case([0.5, 0.5, 0.5])}})
    broken = ("200.0", '"large"'), ("[1.0, 200.0]", "[1.0]"), ('"detected"', '"found"'), ("0.5", "NaN")
    for content in ("{", "[]", '{"cases": {}}', '{"cases": {"a": 3}}', *(good.replace(*change) for change in broken)):
        systems[0].write_text(content)
        with pytest.raises(
            EvaluationError, match=r"metrics\.json: not a metrics\.json of nnunet_kits evaluate\. Evaluate again"
        ):
            read_scored(systems[0])


def test_the_verb_prints_every_table_and_writes_json_and_csv(systems, tmp_path, capsys):
    files = [str(path) for path in systems]
    line = ["compare", *files, "--bounds-ml", "20", "-o", str(tmp_path / "c.json"), "--csv", str(tmp_path / "c.csv")]
    assert main(line) == 0
    told = capsys.readouterr().out
    assert "first: a; second: b; 40 cases" in told
    for title in ("by fold (cases: fold_0 10,", "by tumor volume of the case (cases: under 20 mL", "lesions detected"):
        assert title in told
    assert "p Holm: p flips, or p McNemar, corrected for all lines of its table." in told
    found = json.loads((tmp_path / "c.json").read_text())
    assert list(found["sizes"]) == ["under 20 mL", "20 mL and more"]
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (len(rows), rows[5]["case"], rows[5]["fold"]) == (40, "case_00005", "fold_1")
    difference = sum(float(row["Dice_tumor_difference"]) for row in rows) / 40
    assert difference == pytest.approx(found["scores"]["Dice_tumor"]["difference"], abs=1e-7)


def test_bounds_and_options_that_cannot_be_are_refused(systems, tmp_path, capsys):
    for bounds in (["0", "4"], ["4", "4"], ["-1"], ["inf"]):
        assert main(["compare", *map(str, systems), "--bounds-ml", *bounds]) == 2
        assert "mL: each must be above 0, none twice." in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--csv", "c.csv"]) == 2
    assert "--csv and --bounds-ml need metrics.json, runs or models" in capsys.readouterr().err
    with pytest.raises(EvaluationError, match="100 resamplings are too few"):
        compare_scored(*(read_scored(path) for path in systems), resamplings=100)
