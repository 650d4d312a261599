"""``nnunet_kits rank`` and ``compare``."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from nnunet_kits.cli.main import main
from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation import compare_systems, rank_systems
from nnunet_kits.evaluation.statistics import intervals_95, resampled_means

HEADER = "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor"


def write_system(folder, scores, header=HEADER):
    """A folder as ``evaluate`` leaves it; one row of numbers a case."""
    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [[f"case_{i:05d}", *row] for i, row in enumerate(scores)] + [["average", *scores.mean(axis=0)]]
    lines = [",".join([row[0], *(f"{value:.8f}" for value in row[1:])]) for row in rows]
    (folder / "evaluation.csv").write_text("\n".join([header, *lines]))
    return folder


def test_systems_are_ranked_by_dice_and_surface_dice_and_ties_by_tumor_dice(tmp_path, capsys):
    a = write_system(tmp_path / "a", [0.9, 0.8, 0.7, 0.5, 0.5, 0.5])  # Dice 1st, SD 2nd
    b = write_system(tmp_path / "b", [0.9, 0.7, 0.71, 0.6, 0.6, 0.6])  # Dice 2nd, SD 1st
    c = write_system(tmp_path / "c", [0.5, 0.5, 0.99, 0.1, 0.1, 0.1])
    rows = rank_systems([a, b, c / "evaluation.csv"])
    assert [(row["team_name"], row["final_rank"], row["mean_rank"]) for row in rows] == [
        ("b", 1, 1.5),
        ("a", 2, 1.5),
        ("c", 3, 3.0),
    ]
    assert main(["rank", str(a), str(b), str(c), "-o", str(tmp_path / "ranking.csv")]) == 0
    written = (tmp_path / "ranking.csv").read_text().splitlines()
    assert written[0] == "team_name,final_rank,mean_rank,mean_dice,mean_sd,tumor_dice"
    assert written[1] == "b,1,1.5000,0.77000000,0.60000000,0.71000000"
    assert "   1      1.50  0.7700  0.6000  0.7100  b" in capsys.readouterr().out


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scores=st.lists(st.lists(st.sampled_from([0.2, 0.5, 0.8]), min_size=6, max_size=6), min_size=1, max_size=6))
def test_the_order_is_that_of_scipys_ranks(tmp_path, scores):
    systems = [write_system(tmp_path / f"team{i}", row) for i, row in enumerate(scores)]
    numbers = np.array(scores)
    means = np.stack([numbers[:, :3].mean(axis=1), numbers[:, 3:].mean(axis=1)], axis=1)
    mean_rank = stats.rankdata(-means, "min", axis=0).mean(axis=1)
    # mean ranks are half a rank apart or equal, so a tenth of the tumor Dice only unties
    final = stats.rankdata((mean_rank - 0.1 * numbers[:, 2]).round(10), "min")
    found = {row["team_name"]: row for row in rank_systems(systems)}
    for i in range(len(scores)):
        assert found[f"team{i}"]["mean_rank"] == mean_rank[i]
        assert found[f"team{i}"]["final_rank"] == final[i]


def test_equal_systems_share_a_rank(tmp_path):
    systems = [write_system(tmp_path / name, [0.9, 0.8, 0.7, 0.5, 0.5, 0.5]) for name in "ab"]
    assert [row["final_rank"] for row in rank_systems(systems)] == [1, 1]


def test_kits19_is_ranked_by_its_composite(tmp_path, capsys):
    header = "caseID,Dice_kidney,Dice_tumor,Dice_composite"
    a = write_system(tmp_path / "a", [0.96, 0.80, 0.88], header)
    b = write_system(tmp_path / "b", [0.95, 0.84, 0.895], header)
    first, second = rank_systems([a, b])
    assert (first["team_name"], first["mean_dice"], second["final_rank"]) == ("b", pytest.approx(0.895), 2)
    assert main(["rank", str(a), str(b), "-o", str(tmp_path / "ranking.csv")]) == 0
    assert (tmp_path / "ranking.csv").read_text().startswith("team_name,final_rank,mean_rank,mean_dice,tumor_dice\nb,1")


def test_systems_that_cannot_be_ranked_are_refused(tmp_path):
    row = [0.9, 0.8, 0.7, 0.5, 0.5, 0.5]
    a, b = write_system(tmp_path / "a", [row] * 2), write_system(tmp_path / "b", [row] * 3)
    with pytest.raises(EvaluationError, match="were scored on different cases: case_00002"):
        rank_systems([a, b])
    with pytest.raises(EvaluationError, match="a: two systems have this name"):
        rank_systems([a, a])
    with pytest.raises(EvaluationError, match=r"holds no evaluation\.csv. Run nnunet_kits evaluate"):
        rank_systems([a, tmp_path])
    for content, said in (
        ("x,y\n1,2\n", "not the challenges' format"),
        ("", "not the challenges' format"),
        (f"{HEADER}\ncase_00000,1,1\naverage,1,1", "a line does not fit the header"),
        (f"{HEADER}\ncase_00000,1,1,1,1,1,x\naverage,1,1,1,1,1,1", "a line does not fit the header"),
    ):
        (b / "evaluation.csv").write_text(content)
        with pytest.raises(EvaluationError, match=said):
            rank_systems([b])
    other = write_system(tmp_path / "c", [[1, 1, 1]] * 2, "caseID,Dice_kidney,Dice_tumor,Dice_composite")
    with pytest.raises(EvaluationError, match=r"have different columns\. Evaluate both with the same --year"):
        rank_systems([a, other])


@pytest.fixture
def systems(tmp_path):
    """Twelve cases; the second system is better by 0.01 to 0.03."""
    scores = np.random.default_rng(0).uniform(0.5, 0.9, (12, 6))
    better = scores + np.linspace(0.01, 0.03, 12)[:, None]
    return write_system(tmp_path / "a", scores), write_system(tmp_path / "b", better), scores, better


def test_a_comparison_is_paired(systems, tmp_path, capsys):
    a, b, scores, better = systems
    found = compare_systems(a, b)
    assert list(found) == [*HEADER.split(",")[1:], "Dice_mean", "SD_mean"]
    tumor = found["Dice_tumor"]
    assert tumor["difference"] == pytest.approx(0.02, abs=1e-8)
    assert 0.01 < tumor["interval_95"][0] < 0.02 < tumor["interval_95"][1] < 0.03
    assert tumor["p_wilcoxon"] == pytest.approx(stats.wilcoxon(better[:, 2], scores[:, 2]).pvalue)
    assert tumor["p_bootstrap"] == pytest.approx(2 / 10001)
    assert (tumor["better"], tumor["equal"], tumor["worse"]) == (12, 0, 0)
    assert main(["compare", str(a), str(b), "-o", str(tmp_path / "c.json")]) == 0
    assert "+0.0200" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text()) == found


def test_a_system_does_not_differ_from_itself(systems):
    found = compare_systems(systems[0], systems[0])["SD_tumor"]
    assert (found["p_wilcoxon"], found["p_bootstrap"], found["interval_95"]) == (1.0, 1.0, [0.0, 0.0])
    assert (found["better"], found["equal"], found["worse"]) == (0, 12, 0)


def test_few_resamplings_and_kits19_and_other_cases(systems, tmp_path):
    a, b, *_ = systems
    with pytest.raises(EvaluationError, match=r"100 resamplings are too few for a test\. Take 1000 or more"):
        compare_systems(a, b, 100)
    with pytest.raises(EvaluationError, match="different cases"):
        compare_systems(a, write_system(tmp_path / "c", [[0.5] * 6] * 2))
    header = "caseID,Dice_kidney,Dice_tumor,Dice_composite"
    pair = [write_system(tmp_path / name, [[0.9, d, (0.9 + d) / 2] for d in (0.5, 0.6, 0.7)], header) for name in "de"]
    assert list(compare_systems(*pair)) == header.split(",")[1:]


def test_bootstrap_intervals_are_those_of_scipy():
    values = np.random.default_rng(1).beta(5, 2, 40)
    (lower, upper) = intervals_95([{"x": value} for value in values], 20000)["x"]
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=2).confidence_interval
    assert (lower, upper) == pytest.approx(tuple(theirs), abs=0.002)


def test_resampling_draws_the_same_cases_for_every_column_and_can_be_had_again():
    values = np.array([[0.0, 1.0], [1.0, 2.0], [5.0, 6.0]])
    means = resampled_means(values, 1500)
    assert means.shape == (1500, 2)
    assert means[:, 1] - means[:, 0] == pytest.approx(1)
    assert np.array_equal(means, resampled_means(values, 1500))
