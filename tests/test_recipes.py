"""Recipes: every shipped one becomes steps that may be typed one after the other, and shares what others made."""

import importlib
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import pytest

from nnunet_kits.cli.main import main, parser
from nnunet_kits.conversion.convert import convert
from nnunet_kits.conversion.settings import Settings
from nnunet_kits.derivation.derive import derive
from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.derivation.settings import Settings as Derivation
from nnunet_kits.errors import KitsError, RecipeError
from nnunet_kits.phantom import write_tree
from nnunet_kits.planning.presets import PRESETS_FOLDER
from nnunet_kits.recipes import RunSettings, environment_of, load_recipe, recipe_names, steps_of
from nnunet_kits.recipes.loading import RECIPES_FOLDER
from nnunet_kits.recipes.run_checks import checked_steps
from nnunet_kits.recipes.steps import VERBS, Step
from nnunet_kits.releases import RELEASES

each_recipe = pytest.mark.parametrize("name", recipe_names())
OUTPUTS = {"-o": "folder or number", "--output": "folder"}


def steps(name, **settings):
    recipe = load_recipe(name)
    return steps_of(recipe, RunSettings(Path("/root"), None if recipe.phantoms else Path("/data"), **settings))


# contracts


@each_recipe
def test_a_step_comes_after_those_that_it_reads(name):
    seen = []
    for step in steps(name):
        assert set(step.after) <= set(seen)
        seen.append(step.name)
    assert len(seen) == len(set(seen))


@each_recipe
def test_every_step_but_the_first_reads_another(name):
    first, *others = steps(name)
    assert first.after == ()
    assert all(step.after for step in others)


@each_recipe
def test_a_step_has_a_known_verb_and_a_name_that_a_file_can_have(name):
    for step in steps(name):
        assert step.verb in VERBS
        assert re.fullmatch(r"[A-Za-z0-9_]+", step.name)


@each_recipe
def test_a_run_ends_in_scores_measures_and_a_report(name):
    assert [step.verb for step in steps(name)][-3:] == ["evaluate", "measure", "report"]


@each_recipe
def test_no_two_steps_write_to_one_place(name):
    written = [where_to(step) for step in steps(name)]
    assert len(written) == len(set(written))


def where_to(step):
    """What a command makes, by its own words."""
    words = step.command
    if "-o" in words:
        return words[words.index("-o") + 1] + ("_dataset" if step.verb == "derive" else "")
    if words[0] == "nnUNetv2_train":
        return " ".join(words[:8])
    return {"restore": words[3], "postprocess": words[3]}.get(step.verb, " ".join(words[1:8]))


@each_recipe
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_command_is_taken_by_the_program_that_it_calls(name, device):
    ours = parser()
    for step in steps(name, device=device):
        if step.command[0] == "nnunet_kits":
            ours.parse_args(step.command[1:])
        else:
            check_nnunet_training(step.command)


def check_nnunet_training(command):
    """Refuse words that nnU-Net's own command line would: its argparse is run, its training is not."""
    module = importlib.import_module("nnunetv2.run.run_training")
    taken = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", list(command))
        patch.setattr(module, "run_training", lambda *words, **_: taken.update(words=words))
        patch.setattr(module.torch, "set_num_threads", lambda _: None)
        patch.setattr(module.torch, "set_num_interop_threads", lambda _: None)
        module.run_training_entry()
    assert taken["words"][:4] == (*command[1:4], command[command.index("-tr") + 1])


@each_recipe
def test_arrays_are_made_after_their_plans(name):
    made = {
        (step.command[3], step.command[5].rpartition("/")[2].removesuffix(".json")): step.name
        for step in steps(name)
        if step.verb == "plan"
    }
    for step in steps(name):
        if step.verb == "preprocess":
            assert made[step.command[3], step.command[5]] in step.after


@each_recipe
def test_every_training_reads_arrays_of_its_own_plans(name):
    made = {(step.command[3], step.command[5]) for step in steps(name) if step.verb == "preprocess"}
    for step in steps(name):
        if step.verb == "train":
            assert (step.command[1], step.command[5]) in made
            assert any(
                before.startswith(f"preprocess_{int(step.command[1]):03d}_{step.command[5]}_") for before in step.after
            )


@each_recipe
def test_a_gpu_is_asked_for_by_trainings_and_predictions_alone(name):
    for step in steps(name):
        assert step.resources.gpus == (step.verb in ("train", "predict"))
    assert all(step.resources.gpus == 0 for step in steps(name, device="cpu"))
    assert {step.resources.gpus for step in steps(name, num_gpus=4) if step.verb == "train"} == {4}


@each_recipe
def test_a_published_system_has_its_deviations_and_its_authors_scores_with_what_they_are_a_mean_of(name):
    recipe = load_recipe(name)
    if not recipe.source.startswith("ours"):
        assert recipe.deviations
        assert recipe.reported
    for reported in recipe.reported:
        assert reported.mean_of
        assert all(0 < value < 1 for values in reported.scores.values() for value in values.values())


def test_reported_scores_are_those_of_the_reference_page():
    page = (Path(__file__).parents[1] / "docs" / "reference" / "published-systems.md").read_text()
    found = {float(number) for number in re.findall(r"\b0\.\d+\b", page)}
    for name in recipe_names():
        for reported in load_recipe(name).reported:
            assert {value for values in reported.scores.values() for value in values.values()} <= found


# what a run's settings do


def of(name, verb, **settings):
    return [step for step in steps(name, **settings) if step.verb == verb]


def trained(name, **settings):
    """Dataset, configuration and fold of every training."""
    return [" ".join(step.command[1:4]) for step in of(name, "train", **settings)]


def test_folds_are_trained_as_asked_but_whole_where_others_read_them():
    assert trained("kits21_george_cascade", folds=(1,)) == [
        *(f"135 3d_lowres {fold}" for fold in range(5)),
        "135 3d_fullres 1",
        "135 2d 1",
        "135 3d_cascade_fullres 1",
    ]
    (predict,) = of("kits21_george_cascade", "predict", folds=(1,))
    assert predict.command[:5] == ("nnunet_kits", "predict", "--fold-cases", "1", "-o")


def test_until_keeps_a_verb_and_what_it_needs():
    kept = steps("kits23_chenzhang_25d", until="derive")
    assert [step.verb for step in kept] == [
        "convert",
        "derive",
        "plan",
        "preprocess",
        *["train"] * 5,
        "derive",
        "derive",
    ]
    (only, *_) = steps("kits23_chenzhang_25d", until="convert_220")
    assert only.name == "convert_220"
    with pytest.raises(
        RecipeError, match=r"--until fly: no such step. Name one of the steps, or a verb: convert, derive"
    ):
        steps("kits23_chenzhang_25d", until="fly")


def test_several_cards_and_a_cpu_are_said_to_every_training():
    assert of("kits19_chenjin_unet2d", "train", num_gpus=2)[0].command[-2:] == ("-num_gpus", "2")
    assert of("kits19_chenjin_unet2d", "train", device="cpu")[0].command[-2:] == ("-device", "cpu")
    assert of("kits19_chenjin_unet2d", "predict", device="cpu")[0].command[-2:] == ("--device", "cpu")


def test_a_low_resolution_stage_waits_for_the_arrays_that_its_predictions_are_made_for():
    low = of("kits21_george_cascade", "train")[0]
    assert low.command[2] == "3d_lowres"
    assert set(low.after) == {"preprocess_135_KiTSCascadePlans_3d_lowres", "preprocess_135_KiTSCascadePlans_3d_fullres"}


def test_the_environment_of_a_cpu_has_few_processes(monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    found = environment_of(RunSettings(Path("/root"), device="cpu"))
    assert found["nnUNet_raw"] == "/root/nnUNet_raw"
    assert (found["nnUNet_def_n_proc"], found["nnUNet_n_proc_DA"], found["nnUNet_compile"]) == ("1", "0", "F")
    assert set(environment_of(RunSettings(Path("/root")))) == set(found) - {
        "nnUNet_def_n_proc",
        "nnUNet_n_proc_DA",
        "nnUNet_compile",
    }


def test_disk_and_hours_grow_with_voxels_and_epochs():
    (coarse, fine, slices) = of("kits21_george_cascade", "preprocess")
    assert fine.resources.disk_gb > slices.resources.disk_gb > coarse.resources.disk_gb
    # 528 x 512 x 512 voxels of a usual case, 5 bytes each, 300 cases: 208 GB
    assert 207 <= fine.resources.disk_gb <= 210
    # nnU-Net's own length and patch: 9 hours on an A100, three times that, and one
    assert of("kits21_george_cascade", "train")[0].resources.hours == 28


# data


@pytest.fixture(scope="module")
def tree19(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kits19")
    write_tree(folder / "kits19", "19", cases=4, test_cases=0, size="tiny")
    return folder / "kits19"


def checked(name, root, data, **settings):
    return checked_steps(load_recipe(name), RunSettings(root, data, **settings))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """Copies of recipes for a few cases: name -> file, with two folds by number in place of the authors' splits."""
    folder = tmp_path_factory.mktemp("recipes")
    for name in (ZHANG, "kits19_zhang_preact", "kits23_chenzhang_25d"):
        content = json.loads((RECIPES_FOLDER / f"{name}.json").read_text())
        conversion = {key: value for key, value in content.get("conversion", {}).items() if key != "splits"}
        (folder / f"{name}.json").write_text(json.dumps({**content, "conversion": {**conversion, "folds": 2}}))
    return lambda name: str(folder / f"{name}.json")


ZHANG = "kits19_zhang_resunet"
WRONG_RUNS = {
    "too few cases for a fold": (ZHANG, {}, "--splits kfold_seed42: fold 0 has no validation case among those of this"),
    "no data": (
        ZHANG,
        {"data": None},
        "kits19_zhang_resunet needs --data DIR: the KiTS19 repository, or its data folder.",
    ),
    "no such folder": (
        ZHANG,
        {"data": Path("/nowhere")},
        "--data /nowhere: kits19_zhang_resunet takes KiTS19. /nowhere: no such folder. Name the KiTS19 repository",
    ),
    "another year, by its files": (
        "kits21_george_cascade",
        {},
        "kits21_george_cascade takes KiTS21. case_00000: segmentation.nii.gz belongs to KiTS19 or KiTS23",
    ),
    "another year, by its place": (
        "kits23_ours",
        {},
        "kits23_ours takes KiTS23, which has its cases in dataset, but here they lie in data, as those of KiTS19 or "
        "KiTS21 do. If they are KiTS23's, name that folder itself: --data .*kits19/data$",
    ),
    "folds": (
        ZHANG,
        {"folds": (5,)},
        "--folds 5: kits19_zhang_resunet has folds 0 to 4, by conversion.splits kfold_seed42",
    ),
    "a fold that is not trained": (
        "kits23_chenzhang_25d",
        {"folds": (1,)},
        r"--folds 1: .* trains kidney in \[0\] only",
    ),
}


@pytest.mark.parametrize("case", WRONG_RUNS)
def test_a_run_that_cannot_end_well_is_refused_before_it_begins(case, tree19, tmp_path):
    name, settings, wanted = WRONG_RUNS[case]
    with pytest.raises(KitsError, match=wanted):
        checked(name, tmp_path, **{"data": tree19, **settings})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_ct_is_one_line(tree19, tmp_path):
    case = tmp_path / "data" / "case_00000"
    case.mkdir(parents=True)
    (case / "segmentation.nii.gz").write_bytes(b"")
    with pytest.raises(
        RecipeError, match=r"case_00000: .*imaging.nii.gz is missing. The labels come with the repository"
    ):
        checked(ZHANG, tmp_path / "root", tmp_path)


def test_cases_of_which_no_mask_will_be_made_are_told_before_anything_runs(few, tmp_path):
    write_tree(tmp_path / "kits23", "23", cases=4, test_cases=1, size="tiny")
    with pytest.raises(
        RecipeError, match=r"kits23: case_00589 have no labels, and kits23_chenzhang_25d makes masks of"
    ):
        checked(few("kits23_chenzhang_25d"), tmp_path / "root", tmp_path / "kits23")


# several recipes in one folder


def make(root, step: Step):
    """Run a conversion in this process."""
    words = step.command
    options = parser().parse_args(words[1:])
    settings = Settings(
        RELEASES[options.year], Path(options.source), root / "nnUNet_raw", options.dataset_id, options.name,
        splits=options.splits, folds=options.folds, workers=1,
    )  # fmt: skip
    convert(settings)


def note(root, name, made):
    """What ``run`` leaves of a recipe."""
    file = root / "runs" / name / "steps.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"steps": [{"name": step.name, "command": step.command} for step in made]}))


def test_recipes_of_equal_settings_share_their_conversion_plans_and_arrays(few, tree19, tmp_path):
    first = checked(few(ZHANG), tmp_path, tree19)
    make(tmp_path, first[0])
    note(tmp_path, ZHANG, first)
    second = checked(few("kits19_zhang_preact"), tmp_path, tree19, device="cpu")
    assert [step for step in first if step.verb in ("convert", "plan", "preprocess")] == second[:3]


def test_shipped_recipes_make_datasets_of_one_number_by_one_command():
    datasets = {}
    for name in recipe_names():
        for step in steps(name):
            if step.verb in ("convert", "derive"):
                datasets.setdefault(step.name, set()).add(" ".join(step.command))
    assert all(len(commands) == 1 for commands in datasets.values())


def test_a_dataset_that_was_converted_otherwise_is_not_touched(few, tree19, tmp_path):
    raw = tmp_path / "nnUNet_raw"
    convert(Settings(RELEASES["19"], tree19, raw, 65, "KiTS2019Zhang", folds=3, workers=1))
    with pytest.raises(
        RecipeError,
        match=r"Dataset065_KiTS2019Zhang was made otherwise: folds is 3, not 2. Run this recipe in another --root",
    ):
        checked(few(ZHANG), tmp_path, tree19)


def test_data_of_another_folder_are_not_converted_over(few, tree19, tmp_path):
    make(tmp_path, checked(few(ZHANG), tmp_path, tree19)[0])
    (tmp_path / "again").symlink_to(tree19)
    checked(few(ZHANG), tmp_path, tmp_path / "again")
    write_tree(tmp_path / "other", "19", cases=4, test_cases=0, size="tiny")
    with pytest.raises(RecipeError, match=f"was made otherwise: of {tree19}, not of {tmp_path}/other"):
        checked(few(ZHANG), tmp_path, tmp_path / "other")


def test_a_number_that_another_dataset_has_is_refused(few, tree19, tmp_path):
    (tmp_path / "nnUNet_raw" / "Dataset065_Hips").mkdir(parents=True)
    with pytest.raises(RecipeError, match=r"Dataset065_Hips: has the number of Dataset065_KiTS2019Zhang, which "):
        checked(few(ZHANG), tmp_path, tree19)


def test_a_dataset_that_was_derived_of_other_masks_is_not_touched(few, tmp_path):
    write_tree(tmp_path / "kits23", "23", cases=4, test_cases=0, size="tiny")
    convert(Settings(RELEASES["23"], tmp_path / "kits23", tmp_path / "nnUNet_raw", folds=2, workers=1))
    rule = load_rule("chen_zhang_kidney")
    derive(Derivation(tmp_path / "nnUNet_raw", 220, 222, rule, ("reference",), workers=1))
    with pytest.raises(
        RecipeError, match=r"Dataset222_KiTS2023ChenZhangKidney was made otherwise: masks are .*reference"
    ):
        checked(few("kits23_chenzhang_25d"), tmp_path, tmp_path / "kits23")


def test_a_changed_copy_that_would_write_over_another_recipes_arrays_is_refused(few, tree19, tmp_path):
    note(tmp_path, ZHANG, checked(few(ZHANG), tmp_path, tree19))
    preset = json.loads((PRESETS_FOLDER / "KiTSZhangPlans.json").read_text())
    (tmp_path / "KiTSZhangPlans.json").write_text(json.dumps(preset))
    recipe = json.loads(Path(few(ZHANG)).read_text())
    recipe["stages"][0]["members"]["model"]["plans"] = "KiTSZhangPlans.json"
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    with pytest.raises(RecipeError, match=r"steps.json: plan_065_KiTSZhangPlans is 'nnunet_kits plan -d 65 --preset "):
        checked(str(tmp_path / "mine.json"), tmp_path, tree19)


def test_a_smoke_run_and_a_whole_one_do_not_share_a_folder(few, tree19, tmp_path):
    note(tmp_path, ZHANG, checked(few(ZHANG), tmp_path, tree19))
    with pytest.raises(RecipeError, match=r"steps.json: convert_065 is 'nnunet_kits convert --year 19 "):
        checked(few("kits19_zhang_preact"), tmp_path, tree19, smoke=True)


def test_two_smoke_runs_share_a_folder_and_have_two_folds(few, tree19, tmp_path):
    first = checked(ZHANG, tmp_path, tree19, smoke=True)
    make(tmp_path, first[0])
    note(tmp_path, ZHANG, first)
    assert len(checked("kits19_zhang_preact", tmp_path, tree19, smoke=True)) == len(first) == 9
    with pytest.raises(
        RecipeError, match=r"--folds 2: kits19_zhang_resunet has folds 0 to 1, by conversion.splits by_num"
    ):
        checked(ZHANG, tmp_path, tree19, smoke=True, folds=(2,))


# the command line


def test_the_dry_run_prints_exports_and_then_the_plain_commands(few, tree19, tmp_path, capsys):
    words = ["run", few(ZHANG), "--data", str(tree19), "--root", str(tmp_path), "--device", "cpu", "--dry-run"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    exports = [line for line in lines if line.startswith("export ")]
    assert exports == lines[: len(exports)]
    assert f"export nnUNet_raw={tmp_path}/nnUNet_raw" in exports
    commands = steps_of(load_recipe(few(ZHANG)), RunSettings(tmp_path, tree19, device="cpu"))
    assert lines[len(exports) :] == [" ".join(step.command) for step in commands]
    assert list(tmp_path.iterdir()) == []
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["environment"]["nnUNet_n_proc_DA"] == "0"
    assert [step["name"] for step in found["steps"]] == [step.name for step in commands]


def test_recipes_are_listed_and_shown(capsys):
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == recipe_names()
    assert main(["recipes", "show", "kits21_george_cascade"]) == 0
    out = capsys.readouterr().out
    assert "  cascade: GeorgeCascadeTrainer, 3d_cascade_fullres of KiTSCascadePlans, folds 0 1 2 3 4\n" in out
    assert "  3D cascade: dice of kidney 0.9748, dice of cyst 0.8813, dice of tumor 0.871, surface dice of " in out
    assert "  system kits21_george: How windows are averaged is not stated; here as nnU-Net does.\n" in out
    assert main(["recipes", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == recipe_names()


def test_recipes_show_needs_a_name(capsys):
    assert main(["recipes", "show"]) == 2
    assert "recipes show needs a recipe: kits19_chenjin_unet2d, " in capsys.readouterr().err
