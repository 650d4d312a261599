"""Rules are data: every key is checked, and labels become what the rule says in datasets of classes and of regions."""

import json

import numpy as np
import pytest
from raw_datasets import CLASSES, REGIONS, dataset_json, write_rule

from nnunet_kits.derivation.label_change import SourceLabels, label_change
from nnunet_kits.derivation.rule import load_rule, parse_rule, rule_names
from nnunet_kits.errors import DerivationError
from nnunet_kits.planning.presets import preset_names


def labels_of(labels):
    return SourceLabels.of(dataset_json(labels), "dataset.json")


def rule_of(tmp_path, **changes):
    return load_rule(str(write_rule(tmp_path / "mine.json", **changes)))


@pytest.mark.parametrize("name", rule_names())
def test_every_shipped_rule_is_whole_and_its_preset_exists(name):
    rule = load_rule(name)
    assert parse_rule(name, json.loads(json.dumps(rule.as_json())), "x") == rule
    assert rule.preset is None or rule.preset in preset_names()
    assert rule.summary.endswith(".")


@pytest.mark.parametrize(
    ("name", "becomes", "labels"),
    [
        ("chen_zhang_coarse", [0, 1, 1, 1], {"background": 0, "kidney_and_mass": 1}),
        ("chen_zhang_kidney", [0, 1, 1, 1], {"background": 0, "kidney_and_mass": 1}),
        ("chen_zhang_lesions", [4, 1, 2, 3], {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3, "ignore": 4}),
        ("beheshtifard_kidney", [0, 1, 1, 1], {"background": 0, "kidney_and_mass": 1}),
        ("beheshtifard_tumor", [0, 0, 1, 0], {"background": 0, "tumor": 1}),
    ],
)
@pytest.mark.parametrize("source", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_kits_labels_become_the_papers_from_classes_as_from_regions(name, becomes, labels, source):
    change = label_change(load_rule(name), labels_of(source), "Dataset220_KiTS2023")
    assert change.table[:4].tolist() == becomes
    assert change.content == {"labels": labels}


def test_a_result_gets_the_first_of_the_labels_that_were_joined(tmp_path):
    rule = rule_of(tmp_path, labels={"mass": ["cyst", 2], "kidney": ["kidney"]})
    change = label_change(rule, labels_of(CLASSES), "x")
    assert change.table[:4].tolist() == [0, 2, 1, 1]
    assert change.back[:3].tolist() == [0, 3, 1]


def test_labels_that_are_kept_keep_their_regions(tmp_path):
    change = label_change(rule_of(tmp_path), labels_of(REGIONS), "x")
    assert change.content == {"labels": REGIONS, "regions_class_order": [1, 3, 2]}
    assert change.table[:5].tolist() == change.back[:5].tolist() == [0, 1, 2, 3, 0]


def test_what_the_source_ignores_stays_ignored_under_the_highest_number(tmp_path):
    source = labels_of({**CLASSES, "ignore": 4})
    change = label_change(rule_of(tmp_path, labels={"tumor": ["tumor"]}, ignore=["cyst"]), source, "x")
    assert change.table[:5].tolist() == [0, 0, 1, 2, 2]
    assert change.content["labels"] == {"background": 0, "tumor": 1, "ignore": 2}
    assert change.foreground(np.arange(5)).tolist() == [False, True, True, True, False]
    kept = label_change(rule_of(tmp_path), source, "x")
    assert kept.content["labels"] == {**CLASSES, "ignore": 4}
    assert kept.table[:5].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"liver": ["liver"]}}, "rule mine: D has no label 'liver'. It has 0 background, 1 kidney, 2 tumor"),
        ({"labels": {"kidney": [7]}}, "D has no label 7"),
        ({"labels": {"a": ["kidney"], "b": ["foreground"]}}, "the label 1 of D is named twice, the second time for b"),
        ({"labels": {"a": ["kidney"]}, "ignore": [1]}, "the label 1 of D is named twice"),
    ],
)
def test_a_label_that_the_source_lacks_or_that_is_named_twice_is_refused(tmp_path, changes, message):
    with pytest.raises(DerivationError, match=message):
        label_change(rule_of(tmp_path, **changes), labels_of(CLASSES), "D")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "a rule has exactly summary, source, deviations, labels, ignore, preparation, preset, but"),
        ({"summary": 3}, "summary is 3, not a text"),
        ({"deviations": "none"}, "deviations is 'none', not a list"),
        ({"labels": []}, r"labels is \[\], not"),
        ({"labels": {"background": [0]}}, "no label can be called 'background'"),
        ({"labels": {"a b": [1]}}, "no label can be called 'a b'"),
        ({"labels": {"a": []}}, r"labels, a is \[\], not a list of one or more"),
        ({"labels": {"a": [1.5]}}, r"labels, a is \[1.5\]"),
        ({"ignore": [True]}, r"ignore is \[True\], not a list of any number of labels"),
        ({"preparation": {"size": [1, 2]}}, r"mine.json, preparation: size is \[1, 2\]"),
        ({"preset": 7}, "preset is 7, not a text"),
    ],
)
def test_a_bad_rule_is_refused_with_its_key(tmp_path, changes, message):
    with pytest.raises(DerivationError, match=message):
        rule_of(tmp_path, **changes)


def test_no_rule_and_no_json_are_refused(tmp_path):
    with pytest.raises(DerivationError, match=r"there is no rule 'chen'\. Known: beheshtifard_kidney, "):
        load_rule("chen")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DerivationError, match="not a JSON file"):
        load_rule(str(tmp_path / "a.json"))


@pytest.mark.parametrize("labels", [None, {}, {"background": 0, "a": "b"}, {"background": 0, "a": 300}])
def test_labels_that_nnunet_would_not_take_are_refused(labels):
    with pytest.raises(DerivationError, match=r"^dataset\.json: labels is"):
        SourceLabels.of({"labels": labels}, "dataset.json")


def test_values_without_a_name_are_described_by_their_number():
    source = labels_of({"background": 0, "organs": [1, 9], "vessel": 5})
    assert source.described() == "0 background, 1 kidney, 5 vessel, 9"
    assert np.array_equal(source.values, [1, 5, 9])
