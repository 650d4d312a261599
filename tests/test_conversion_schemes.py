"""``convert --splits`` and ``--hold-out``: papers' splits, files, cases in no fold."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits_trees import make_tree
from sklearn.model_selection import KFold

from nnunet_kits.cli.main import main
from nnunet_kits.conversion.schemes import KFOLD, make_folds
from nnunet_kits.conversion.splits import assign_folds, splits_of
from nnunet_kits.errors import ConversionError
from nnunet_kits.planning.presets import load_preset

BEHESHTIFARD, CHEN_JIN = "0-239/240-269/270-299", "0.8/0.1/0.1"


def names(numbers):
    return [f"case_{number:05d}" for number in numbers]


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    return tmp_path / "raw"


def written(raw):
    """splits_final.json and conversion.json of the one dataset."""
    (dataset,) = raw.iterdir()
    return [json.loads((dataset / f"{name}.json").read_text()) for name in ("splits_final", "conversion")]


def test_zhangs_folds_are_those_of_scikit_learn():
    found = make_folds(names(range(210)), KFOLD)
    expected = KFold(n_splits=5, shuffle=True, random_state=42).split(np.zeros(210))
    assert found.splits == [{"train": names(train), "val": names(val)} for train, val in expected]
    assert (found.held_out, found.notes) == ([], [])


def test_cases_that_a_named_scheme_lists_and_the_dataset_lacks_leave_their_folds_and_are_noted():
    whole, part = (make_folds(names(cases), KFOLD) for cases in (range(210), range(2, 200)))
    for before, after in zip(whole.splits, part.splits, strict=True):
        for what in ("train", "val"):
            assert after[what] == [name for name in before[what] if "case_00002" <= name < "case_00200"]
    assert part.notes == [
        "--splits kfold_seed42: 12 of its cases are not here: "
        "case_00000, case_00001, case_00200, case_00201, case_00202 and 7 more."
    ]


def test_cases_that_no_fold_names_are_held_out_and_noted():
    found = make_folds(names([*range(210), 400]), KFOLD)
    assert found.held_out == ["case_00400"]
    assert found.notes == ["Held out, in no fold: case_00400. Do not train fold all, which takes every case."]


def test_beheshtifards_ranges_train_validate_and_hold_out():
    found = make_folds(names(range(300)), BEHESHTIFARD)
    assert found.splits == [{"train": names(range(240)), "val": names(range(240, 270))}]
    assert found.held_out == names(range(270, 300))
    assert make_folds(names(range(30)), "0-9/20-29").splits == [
        {"train": names(range(10)), "val": names(range(20, 30))}
    ]


def test_shares_are_drawn_anew_by_the_seed_only():
    every = names(range(210))
    (split,) = make_folds(every, CHEN_JIN).splits
    held = make_folds(every, CHEN_JIN).held_out
    assert [len(split["train"]), len(split["val"]), len(held)] == [168, 21, 21]
    assert sorted([*split["train"], *split["val"], *held]) == every
    assert make_folds(every[::-1], CHEN_JIN).splits == [split]
    assert make_folds(every, f"{CHEN_JIN}:0").splits == [split]
    assert make_folds(every, f"{CHEN_JIN}:1").splits != [split]


@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(0, 698), min_size=40), st.sampled_from(["0.1", "0.33"]))
def test_a_share_holds_out_the_same_patient_in_every_year_and_moves_no_other(cases, share):
    every = names(range(700))
    held = set(make_folds(every, hold_out=share).held_out)
    assert len(held) == 7 * round(100 * float(share))
    some = names(sorted(cases))
    if not held & set(some) or set(some) <= held:
        return
    found = make_folds(some, hold_out=share)
    assert found.held_out == [name for name in some if name in held]
    assert found.splits == splits_of(assign_folds([name for name in some if name not in held])[0])


def test_a_file_of_ones_own_is_taken_as_it_is(tmp_path):
    file = tmp_path / "splits.json"
    file.write_text(json.dumps([{"train": names([2, 0]), "val": names([1])}, {"train": names([1]), "val": names([0])}]))
    found = make_folds(names(range(4)), str(file))
    assert found.splits == [
        {"train": names([0, 2]), "val": names([1])},
        {"train": names([1]), "val": names([0])},
    ]
    assert found.held_out == names([3])


def test_a_file_may_name_no_case_that_is_not_there_but_those_that_were_left_out(tmp_path):
    file = tmp_path / "splits.json"
    file.write_text(json.dumps([{"train": names([0, 68]), "val": names([1])}]))
    with pytest.raises(ConversionError, match="case_00068 is no training case of this dataset"):
        make_folds(names(range(3)), str(file))
    assert make_folds(names(range(3)), str(file), left_out=names([68])).splits[0]["train"] == names([0])


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        ("zhang", r"--splits zhang: unknown\. Allowed: by_number, kfold_seed42, ranges"),
        ("0-9/9-12", "the ranges must hold numbers, each of them once"),
        ("9-0/10-12", "the ranges must hold numbers, each of them once"),
        ("0.8/0.1/0.2", "the shares must be above 0 and make 1 together"),
        (".0/.9/.1", "the shares must be above 0 and make 1 together"),
        ("none.json", r"none\.json: no such file"),
        ("400-410/411-412", "fold 0 has no training case among those of this dataset"),
        ("0-1/411-412", "no validation case among those of this dataset, which has 3 with labels. Get the others, or"),
    ],
)
def test_what_is_no_scheme_or_fits_no_case_is_refused(splits, said):
    with pytest.raises(ConversionError, match=said):
        make_folds(names(range(3)), splits)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense", "not a JSON file"),
        ("{}", "is not nnU-Net's"),
        ('[{"train": ["case_00000"], "val": ["case_00000"]}]', r"fold 0 has case_00000 twice\. A case is trained or"),
        ('[{"train": ["case_00000"], "val": []}]', "is not nnU-Net's"),
    ],
)
def test_a_file_that_is_no_splits_is_refused(tmp_path, content, said):
    (tmp_path / "splits.json").write_text(content)
    with pytest.raises(ConversionError, match=said):
        make_folds(names(range(3)), str(tmp_path / "splits.json"))


@pytest.mark.parametrize("hold_out", ["0", "0.6", "1", "nan", "inf", "0.005", "0.125", "-1"])
def test_shares_out_of_range_are_refused(hold_out):
    with pytest.raises(ConversionError, match=r"a share is 0\.01 to 0\.5, in hundredths; else name a \.json file"):
        make_folds(names(range(30)), hold_out=hold_out)


def test_a_list_of_cases_holds_them_out_of_any_scheme(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text('[3, "case_00012"]')
    for scheme in ("by_number", KFOLD):
        found = make_folds(names(range(210)), scheme, str(file))
        assert found.held_out == names([3, 12])
        assert not {"case_00003", "case_00012"} & {n for split in found.splits for part in split.values() for n in part}
    file.write_text("[3, 999]")
    with pytest.raises(ConversionError, match="case_00999 is no training case of this dataset"):
        make_folds(names(range(210)), hold_out=str(file))
    for content in ("{}", "[1.5]", '["kidney"]', "3", '{"a": 1}'):
        file.write_text(content)
        with pytest.raises(ConversionError, match=r"none of 210|is neither a share nor a JSON list of cases"):
            make_folds(names(range(210)), hold_out=str(file))


def test_a_share_that_takes_no_case_or_every_case_is_refused(tmp_path):
    with pytest.raises(ConversionError, match=r"--hold-out 0\.01: that is none of 2 training cases"):
        make_folds(names(range(2)), hold_out="0.01")
    (tmp_path / "all.json").write_text("[0, 1]")
    with pytest.raises(ConversionError, match="that is every of 2 training cases"):
        make_folds(names(range(2)), hold_out=str(tmp_path / "all.json"))


def test_convert_records_the_scheme_and_what_is_held_out_and_names_the_papers_preset_next(tmp_path, raw, capsys):
    tree = make_tree(tmp_path / "kits", "21", training=(0, 240, 270))
    assert main(["convert", "--year", "21", str(tree), "--splits", BEHESHTIFARD]) == 0
    printed = capsys.readouterr().out
    assert "note: Held out, in no fold: case_00270." in printed
    assert "nnunet_kits plan -d 135 --preset KiTSBeheshtifard2DPlans" in printed
    assert load_preset("KiTSBeheshtifard2DPlans")
    splits, conversion = written(raw)
    assert splits == [{"train": names([0]), "val": names([240])}]
    assert (conversion["splits"], conversion["held_out"]) == (BEHESHTIFARD, names([270]))
    assert (conversion["folds"], conversion["moved_to_fill_folds"]) == (1, {})


def test_without_the_options_nothing_of_them_is_written(tmp_path, raw):
    tree = make_tree(tmp_path / "kits")
    assert main(["convert", "--year", "23", str(tree), "--folds", "3"]) == 0
    splits, conversion = written(raw)
    assert splits == splits_of(assign_folds(names(range(3)), 3)[0])
    assert not {"splits", "held_out"} & set(conversion)
    assert conversion["folds"] == 3


def test_an_excluded_case_may_be_in_a_file_and_bad_options_stop_before_a_case_is_converted(tmp_path, raw, capsys):
    tree = make_tree(tmp_path / "kits")
    file = tmp_path / "splits.json"
    file.write_text(json.dumps([{"train": names([0]), "val": names([1, 2])}]))
    command = ["convert", "--year", "23", str(tree)]
    assert main([*command, "--splits", "wrong"]) == 2
    assert main([*command, "--hold-out", "0.9"]) == 2
    assert main([*command, "--splits", KFOLD, "--folds", "3"]) == 2
    assert "--folds 3 goes with --splits by_number; kfold_seed42 has its own." in capsys.readouterr().err
    assert not raw.exists()
    assert main([*command, "--splits", str(file), "--exclude", "2"]) == 0
    assert written(raw)[0] == [{"train": names([0]), "val": names([1])}]
