"""Systems as data: what the shipped ones say, and what is refused."""

import json
import pickle

import pytest

from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.jobs import SystemJob
from nnunet_kits.inference.system import SYSTEMS_FOLDER, load_system, parse_system, system_names
from nnunet_kits.postprocessing import chain_names
from nnunet_kits.preparation import Preparation


def stage(name, **more):
    return {"name": name, "members": {name: {"labels": ["kidney"]}}, **more}


def content(**changes):
    """A system that is good but for the changes."""
    joined = {"rule": "inside", "mask": "a", "labels": "b"}
    good = {
        "summary": "s",
        "source": "ours",
        "deviations": [],
        "labels": {"kidney": 1, "tumor": 2},
        "stages": [stage("a"), stage("b", of="a", prepare={"mask": True}, join=joined)],
        "postprocessing": None,
    }
    return {**good, **changes}


def test_every_shipped_system_is_read_has_a_source_and_names_only_chains_that_are_there():
    assert system_names() == sorted(path.stem for path in SYSTEMS_FOLDER.iterdir())
    for name in system_names():
        system = load_system(name)
        assert system.name == name
        assert len(system.source) > 20
        assert system.deviations
        assert system.postprocessing in (None, *chain_names())
        values = {"kidney": 1, "tumor": 2, "cyst": 3}
        assert dict(system.labels).items() <= values.items()


def test_chen_and_zhangs_system_has_their_sizes_margins_windows_and_rule():
    system = load_system("kits23_chenzhang")
    coarse, fine = system.stages
    assert system.keys == ["coarse", "kidney", "lesions"]
    assert coarse.prepare == Preparation(size=(128, 128, 128))
    assert fine.prepare == Preparation((4, 20, 20), size=(None, 224, 384))
    assert (fine.of, fine.join.mask, fine.join.labels) == ("coarse", "kidney", "lesions")
    assert (fine.windows.step, fine.windows.placement, fine.windows.padding) == ((1, 1, 1), "back", "lowest")
    assert fine.windows.mirror_axes == ("z",)
    assert system.postprocessing == "chen_zhang"


def test_the_other_systems_have_their_authors_windows():
    (zhang,) = load_system("kits19_zhang").stages
    assert zhang.windows.step == (0.75, 0.75, 0.75)  # windows overlap by a quarter
    (chenjin,) = load_system("kits19_chenjin").stages
    assert chenjin.windows.step == (0.5, 0.5, 0.5)
    assert (zhang.windows.mirror_axes, chenjin.windows.mirror_axes) == ((), ("y", "x"))
    for windows in (zhang.windows, chenjin.windows):
        assert (windows.weighting, windows.average) == ("uniform", "probabilities")
    first, second = load_system("kits21_beheshtifard").stages
    assert first.prepare == Preparation(size=(None, 512, 512))
    assert second.prepare == Preparation(mask=True, size=(None, 512, 512))
    assert (second.of, second.join.mask, second.join.labels) == ("kidney", "kidney", "tumor")
    assert load_system("kits21_george").stages[1].reads == "low"
    assert load_system("kits21_george_cropped").stages[1].prepare.margin_voxels == (8, 32, 32)


@pytest.mark.parametrize(
    ("system", "rules"),
    [
        ("kits23_chenzhang", {"coarse": "coarse", "kidney": "kidney", "lesions": "lesions"}),
        ("kits21_beheshtifard", {"kidney": "kidney", "tumor": "tumor"}),
    ],
)
def test_a_stage_prepares_scans_as_the_rule_does_by_which_its_models_datasets_are_derived(system, rules):
    author = {"kits23_chenzhang": "chen_zhang", "kits21_beheshtifard": "beheshtifard"}[system]
    for stage in load_system(system).stages:
        for member in stage.members:
            rule = load_rule(f"{author}_{rules[member.key]}")
            assert rule.preparation == stage.prepare
            known = {"kidney" if name == "kidney_and_mass" else name for name in rule.labels}
            assert set(member.labels) <= known


def test_our_fine_stage_crops_as_the_rule_of_its_dataset_does():
    coarse, fine = load_system("kits23_ours").stages
    assert (coarse.prepare, fine.of) == (Preparation(), "coarse")
    assert fine.prepare == load_rule("kidney_region_wide").preparation
    assert fine.join.rule == "average"  # of two members at least
    assert len(fine.members) >= 2


def test_a_job_goes_to_another_process():
    models = tuple((key, ("x",)) for key in ("coarse", "kidney", "lesions"))
    job = SystemJob(load_system("kits23_chenzhang"), models)
    again = pickle.loads(pickle.dumps(job))
    assert (again, hash(again)) == (job, hash(job))


def test_what_a_user_says_of_windows_holds_in_every_stage():
    system = load_system("kits23_chenzhang").with_windows(mirror_axes=("x",), weighting=None, step=(0.5, 0.5, 0.5))
    assert [stage.windows.mirror_axes for stage in system.stages] == [("x",), ("x",)]
    assert {stage.windows.step for stage in system.stages} == {(0.5, 0.5, 0.5)}
    assert {stage.windows.weighting for stage in system.stages} == {"uniform"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stage": []}, "unknown: stage. The keys are summary, source"),
        ({"labels": {"kidney": 0}}, "not names and values from 1 to 255"),
        ({"labels": {"kidney": 1, "tumor": 1}}, "two labels have one value"),
        ({"stages": []}, "stages is empty"),
        ({"stages": {}}, "stages is {}, not a list"),
        ({"stages": ["a"]}, "stage 1: is 'a', not an object with name"),
        ({"stages": [{"name": "a"}]}, "stage 1: missing: members"),
        ({"stages": [stage("a", margin=3)]}, "stage 1: unknown: margin"),
        ({"stages": [stage("a"), stage("a")]}, "every stage has one of its own"),
        ({"stages": [stage("a", of="b", prepare={"mask": True})]}, "of is 'b', not a stage before this one: none"),
        ({"stages": [stage("a", reads="a")]}, "reads is 'a', not a stage before"),
        ({"stages": [stage("a", prepare={"mask": True})]}, "says in of whose label map"),
        ({"stages": [stage("a"), stage("b", of="a")]}, "says in of whose label map"),
        ({"stages": [stage("a", prepare={"crop": 1})]}, "is no preparation. Its keys are region, mask, size"),
        ({"stages": [stage("a", prepare={"size": [1, 2]})]}, "not three integers"),
        ({"stages": [stage("a", windows={"overlap": 1})]}, "its keys are step, placement"),
        ({"stages": [{"name": "a", "members": {}}]}, "not keys of models and their labels"),
        ({"stages": [{"name": "a", "members": {"m": {"labels": ["cyst"]}}}]}, "of the system's labels kidney, tumor"),
        ({"stages": [{"name": "a", "members": {"m=n": {"labels": ["kidney"]}}}]}, "holds no ="),
        ({"stages": [{"name": "a", "members": {"m": {"labels": ["kidney"], "folds": 0}}}]}, "folds is 0"),
        ({"stages": [stage("a", join={"rule": "vote"})]}, "the rule is average, alone, or inside"),
        ({"stages": [stage("a", join={"rule": "average", "mask": "a"})]}, "the rule is average, alone"),
        ({"stages": [stage("a", join={"rule": "inside", "mask": "b", "labels": "a"})]}, "mask is 'b'"),
        ({"stages": [stage("a", join={"rule": "inside", "mask": "a", "labels": "a"})]}, "mask is 'a'"),
        ({"postprocessing": "polish"}, "postprocessing: there is no chain 'polish'"),
        ({"labels": {"kidney": 1, "tumor": 3}, "postprocessing": "chen_zhang"}, "postprocessing reads KiTS labels"),
    ],
)
def test_a_system_that_is_none_is_refused_with_the_key_and_what_is_allowed(changes, said):
    assert parse_system("s", content(), "s.json").keys == ["a", "b"]
    with pytest.raises(InferenceError) as caught:
        parse_system("s", content(**changes), "s.json")
    assert said in str(caught.value)
    assert str(caught.value).startswith("s.json")
    assert "\n" not in str(caught.value)


def test_three_members_where_only_two_take_part_are_refused():
    members = {key: {"labels": ["kidney"]} for key in "abc"}
    joined = {"rule": "inside", "mask": "a", "labels": "b"}
    with pytest.raises(InferenceError, match="the members are a, b, c, but only mask and labels take part"):
        parse_system("s", content(stages=[{"name": "f", "members": members, "join": joined}]), "s.json")


def test_an_unknown_name_lists_the_systems_and_a_damaged_file_is_named(tmp_path):
    with pytest.raises(InferenceError, match=r"there is no system 'mine'. Known: kits19_chenjin, .*; or give a \.json"):
        load_system("mine")
    (tmp_path / "mine.json").write_text("{")
    with pytest.raises(InferenceError, match=r"mine\.json: not a JSON file"):
        load_system(str(tmp_path / "mine.json"))
    (tmp_path / "mine.json").write_text(json.dumps(content()))
    assert load_system(str(tmp_path / "mine.json")).name == "mine"
