"""What is smaller in a smoke run: presets, rules, systems, trainers, cases; the steps are those of the whole recipe."""

import json

import numpy as np
import pytest
from kits_trees import make_tree

from nnunet_kits.derivation.rule import RULES_FOLDER, load_rule, rule_names
from nnunet_kits.inference.system import SYSTEMS_FOLDER, load_system, system_names
from nnunet_kits.planning.presets import PRESETS_FOLDER, load_preset, preset_names
from nnunet_kits.recipes import RunSettings, load_recipe, recipe_names, steps_of
from nnunet_kits.recipes.smoke import few_cases, one_epoch, reduced, smaller_preset, smaller_sizes
from nnunet_kits.training.names import parse_trainer_name


def written(tmp_path, folder, name, smaller):
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(smaller(json.loads((folder / f"{name}.json").read_text()))))
    return str(file)


@pytest.mark.parametrize("name", preset_names())
def test_a_smaller_preset_is_a_preset_with_few_voxels_stages_and_iterations(name, tmp_path):
    preset = load_preset(written(tmp_path, PRESETS_FOLDER, name, smaller_preset))
    assert set(preset.configurations) == set(load_preset(name).configurations)
    assert preset.features_max <= 8
    for given in preset.configurations.values():
        assert max(given.get("features", [1])) <= 8
        if "inherits_from" in given:
            continue
        assert np.prod(given["patch_size"]) * given["batch_size"] <= 100_000
        assert given["kits_training"]["num_iterations_per_epoch"] == 2
        assert len(given.get("strides", [1] * given.get("max_stages", 9))) == 3
        assert min(given.get("spacing_zyx_mm", [13])) >= 13


@pytest.mark.parametrize("name", rule_names())
def test_a_smaller_rule_has_the_labels_of_the_rule(name, tmp_path):
    rule = load_rule(written(tmp_path, RULES_FOLDER, name, smaller_sizes))
    assert (rule.labels, rule.ignore) == (load_rule(name).labels, load_rule(name).ignore)
    assert max(edge or 0 for edge in rule.preparation.size or [0]) <= 64


def test_smaller_systems_prepare_scans_as_smaller_rules_do(tmp_path):
    before, after = {}, {}
    for name in rule_names():
        before[load_rule(name).preparation] = load_rule(
            written(tmp_path, RULES_FOLDER, name, smaller_sizes)
        ).preparation
    for name in system_names():
        for stage, small in zip(
            load_system(name).stages,
            load_system(written(tmp_path, SYSTEMS_FOLDER, name, smaller_sizes)).stages,
            strict=True,
        ):
            after[stage.prepare] = small.prepare
            assert (small.members, small.of, small.reads, small.join) == (
                *(stage.members, stage.of, stage.reads, stage.join),
            )
    both = set(before) & set(after)
    assert len(both) >= 5
    assert all(before[prepare] == after[prepare] for prepare in both)


def test_a_trainer_is_the_same_for_one_epoch():
    assert one_epoch("ResUNetTrainer_DiceFocal_TumorFocus") == "ResUNetTrainer_DiceFocal_TumorFocus_1epochs"
    assert one_epoch("ResUNetTrainer_1epochs") == "ResUNetTrainer_1epochs"
    both = "ChenZhang25DTrainer_1epochs_after_ChenZhangCoarseTrainer_1epochs"
    assert one_epoch("ChenZhang25DTrainer_after_ChenZhangCoarseTrainer") == both
    assert one_epoch("nnUNetTrainer_5epochs") == "nnUNetTrainer_5epochs"


def test_the_cases_with_the_smallest_files_are_taken(tmp_path):
    tree = make_tree(tmp_path / "kits", "21", training=range(8), test=(300,))
    for number in (1, 4):
        with (tree / "kits21" / "data" / f"case_{number:05d}" / "imaging.nii.gz").open("ab") as file:
            file.write(b"\0" * 100_000)
    few = few_cases("21", tree, tmp_path / "few")
    names = ["case_00000", "case_00002", "case_00003", "case_00005", "case_00006", "case_00007"]
    assert sorted(link.name for link in (few / "kits21" / "data").iterdir()) == names
    assert (few / "kits21" / "data" / names[0] / "aggregated_MAJ_seg.nii.gz").is_file()
    assert few_cases("21", tmp_path / "nowhere", tmp_path / "none") == tmp_path / "nowhere"


@pytest.mark.parametrize("name", recipe_names())
def test_a_smoke_run_has_the_steps_of_the_whole_one_with_fewer_folds(name, tmp_path):
    recipe = load_recipe(name)
    run = RunSettings(tmp_path, None if recipe.phantoms else tmp_path / "data")
    whole, small = (steps_of(recipe, settings) for settings in (run, RunSettings(run.root, run.data, smoke=True)))
    kinds = [list(dict.fromkeys(step.verb for step in steps)) for steps in (whole, small)]
    assert kinds[0] == kinds[1]
    assert [s.name for s in small if s.verb != "train"] == [
        step.name.replace(trainer, one_epoch(trainer)) if (trainer := trainer_in(step.name)) else step.name
        for step in whole
        if step.verb != "train"
    ]
    changed, _ = reduced(recipe, RunSettings(tmp_path, run.data, smoke=True))
    assert all(parse_trainer_name(member.trainer).epochs == 1 for member in changed.members.values())


def trainer_in(name):
    """The trainer in the name of a step that predicts training cases."""
    return next((part for part in name.split("3d_fullres_")[-1].split("2d_")[-1:] if "Trainer" in part), "")
