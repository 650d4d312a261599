"""Recipes that are wrong: one line each, with file, key, value and what is allowed, before anything runs."""

import json
from pathlib import Path

import pytest

from nnunet_kits.cli.main import main
from nnunet_kits.planning.presets import PRESETS_FOLDER
from nnunet_kits.recipes import RunSettings, load_recipe, steps_of
from nnunet_kits.recipes.loading import RECIPES_FOLDER

ZHANG, CASCADE, FINE = "kits19_zhang_resunet", "kits21_george_cascade", "kits23_chenzhang_25d"
MODEL = "stages.0.members.model"
COARSE = {"by": "validation", "member": "coarse"}


def changed(name, changes):
    """A shipped recipe with other values: path of keys -> value; None takes the key away."""
    content = json.loads((RECIPES_FOLDER / f"{name}.json").read_text())
    for path, value in changes.items():
        *keys, last = (int(key) if key.isdecimal() else key for key in path.split("."))
        table = content
        for key in keys:
            table = table[key]
        if value is None:
            del table[last]
        else:
            table[last] = value
    return content


def check(tmp_path, capsys, content):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(content) if not isinstance(content, str) else content)
    code = main(["recipes", "check", str(file)])
    captured = capsys.readouterr()
    return code, captured.err.replace(f"{file}: ", "mine: "), captured.out


BAD = {
    "unknown key": (
        ZHANG,
        {"stagez": []},
        "mine: stagez: unknown key. Allowed: summary, source, deviations, reported, ",
    ),
    "unknown key of a member": (
        ZHANG,
        {f"{MODEL}.trainr": "x"},
        f"mine: {MODEL}.trainr: unknown key. Allowed: plans, configuration, trainer, derive, folds, checkpoint.",
    ),
    "name in the file": (ZHANG, {"name": "x"}, "mine: name: unknown key. A recipe is called as its file is: mine."),
    "missing key": (ZHANG, {f"{MODEL}.plans": None}, f"mine: {MODEL}.plans: is missing. The keys are plans, "),
    "wrong kind": (ZHANG, {f"{MODEL}.folds": "0"}, f"mine: {MODEL}.folds is '0', but must be a valid list."),
    "unknown release": (ZHANG, {"release": "22"}, "mine: release is '22', but must be '19', '21' or '23'."),
    "unknown trainer part": (
        ZHANG,
        {f"{MODEL}.trainer": "ResUNetTrainer_DiceFokal"},
        f"mine: {MODEL}.trainer: ResUNetTrainer_DiceFokal: no part of a trainer's name is called 'DiceFokal'. Did you",
    ),
    "unknown trainer": (
        ZHANG,
        {f"{MODEL}.trainer": "ZhangResUnetTrainer"},
        f"mine: {MODEL}.trainer: there is no trainer 'ZhangResUnetTrainer': did you mean ZhangResUNetTrainer?",
    ),
    "unknown preset": (ZHANG, {f"{MODEL}.plans": "KiTSPlans"}, f"mine: {MODEL}.plans: there is no preset 'KiTSPlans'."),
    "configuration that the preset lacks": (
        ZHANG,
        {f"{MODEL}.configuration": "2d"},
        f"mine: {MODEL}.configuration is '2d', which KiTSZhangPlans does not have. It has: 3d_fullres, ",
    ),
    "unknown splits": (ZHANG, {"conversion.splits": "kfold"}, "mine: conversion: --splits kfold: unknown. Allowed: "),
    "unknown aggregation": (ZHANG, {"conversion.aggregation": "MAJ"}, "mine: conversion: KiTS19 has no aggregation"),
    "bad exclusion": (ZHANG, {"conversion.exclude": ["abc"]}, "mine: conversion.exclude.0 is 'abc', but "),
    "folds that the splits lack": (
        ZHANG,
        {f"{MODEL}.folds": [0, 5]},
        f"mine: {MODEL}.folds is [0, 5], but conversion.splits kfold_seed42 has folds 0 to 4.",
    ),
    "unknown system": (ZHANG, {"inference.system": "zhang"}, "mine: inference.system: there is no system 'zhang'."),
    "model key missing": (
        FINE,
        {"inference.models.kidney": None},
        "mine: inference.models has no 'kidney'. kits23_chenzhang needs coarse, kidney, lesions.",
    ),
    "model key too many": (
        ZHANG,
        {"inference.models.fine": ["model"]},
        "mine: inference.models.fine: kits19_zhang has no such model, but model.",
    ),
    "no such member": (
        ZHANG,
        {"inference.models.model": ["modell"]},
        "mine: inference.models.model: 'modell' is no member. The members are model.",
    ),
    "labels that do not fit the system": (
        FINE,
        {"inference.models.lesions": ["kidney"]},
        "mine: inference.models.lesions: kidney: has the labels kidney_and_mass, but kits23_chenzhang needs tumor, ",
    ),
    "labels that the release lacks": (
        FINE,
        {"release": "19"},
        "mine: stages.1.members.lesions.derive: rule chen_zhang_lesions: Dataset064_KiTS2019 has no label 'cyst'.",
    ),
    "coarse to fine with another key": (
        ZHANG,
        {"inference.system": None},
        "mine: inference.models has model, but without a system it has fine and, if wanted, coarse with one member.",
    ),
    "a stage that reads a later one": (
        FINE,
        {
            "stages.0.members.coarse.derive": {
                "dataset_id": 221,
                "rule": "kidney_region",
                "masks": {**COARSE, "member": "kidney"},
            }
        },
        "mine: stages.0.members.coarse.derive.masks.member is 'kidney', of this stage or a later one. Members of "
        "earlier stages: none.",
    ),
    "masks of nobody": (
        FINE,
        {"stages.1.members.kidney.derive.masks": {"by": "validation"}},
        "mine: stages.1.members.kidney.derive.masks.member is None, but a member is named where by is validation",
    ),
    "a rule without its masks": (
        FINE,
        {"stages.1.members.kidney.derive.masks": None},
        "mine: stages.1.members.kidney.derive: rule chen_zhang_kidney crops to a mask or multiplies by one. ",
    ),
    "unknown rule": (
        FINE,
        {"stages.0.members.coarse.derive.rule": "coarse"},
        "mine: stages.0.members.coarse.derive: there is no rule 'coarse'.",
    ),
    "masks of some folds": (
        FINE,
        {"stages.0.members.coarse.folds": [0]},
        "mine: stages.1.members.kidney.derive.masks.by is 'validation', which needs coarse in all of folds 0 to 4, but "
        "its folds are [0].",
    ),
    "masks by splits that validate some cases": (
        FINE,
        {"conversion": {"splits": "0.8/0.1/0.1"}},
        "mine: stages.1.members.kidney.derive.masks.by is 'validation', but conversion.splits 0.8/0.1/0.1 validates "
        "only some cases.",
    ),
    "one number for two datasets": (
        FINE,
        {"stages.1.members.lesions.derive.dataset_id": 222},
        "mine: stages.1.members.lesions.derive.dataset_id is 222, which is another dataset's of this recipe.",
    ),
    "one key for two members": (
        CASCADE,
        {
            "stages.1.members": {
                "low": {"plans": "KiTSCascadePlans", "configuration": "3d_fullres", "trainer": "ResUNetTrainer"}
            }
        },
        "mine: stages: two members are called 'low'. Give each a name of its own.",
    ),
    "a cascade without its first stage": (
        CASCADE,
        {"stages.0.members.low.trainer": "ResUNetTrainer"},
        "mine: stages.1.members.cascade.configuration is '3d_cascade_fullres', which reads 3d_lowres of the same plans "
        "and dataset, trained by GeorgeCascadeTrainer, but no member is that.",
    ),
    "a member that nothing reads": (
        CASCADE,
        {"evaluation.alone": ["2d", "low"]},
        "mine: stages.0.members.full: is trained, but nothing reads it. Name it in inference.models or ",
    ),
    "two checkpoints in one prediction": (
        CASCADE,
        {"stages.0.members.low.checkpoint": "checkpoint_best.pth"},
        "mine: inference.models: its members predict by checkpoint_best.pth and checkpoint_final.pth; predict ",
    ),
    "unknown chain": (ZHANG, {"postprocessing": "cleen"}, "mine: there is no chain 'cleen'."),
    "a chain chosen on held-out cases": (
        "kits19_chenjin_unet2d",
        {"postprocessing": "determine"},
        "mine: postprocessing is 'determine', which chooses a chain on the cases that folds validate, but ",
    ),
    "nothing held out": (
        ZHANG,
        {"evaluation": {"cases": "held_out"}},
        "mine: evaluation.cases is 'held_out', but every case is in a fold: conversion.splits is kfold_seed42.",
    ),
    "scored folds that are not trained": (
        FINE,
        {"evaluation.folds": [1]},
        "mine: evaluation.folds: fold 1 is not trained by kidney.",
    ),
    "no such member to score": (CASCADE, {"evaluation.alone": ["3d"]}, "mine: evaluation.alone: '3d' is no member."),
}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_recipe_is_one_line_with_its_key(case, tmp_path, capsys):
    name, changes, wanted = BAD[case]
    code, error, out = check(tmp_path, capsys, changed(name, changes))
    assert code == 2
    assert error.startswith(f"nnunet_kits: error: {wanted}"), error
    assert error.count("\n") == 1
    assert out == ""


@pytest.mark.parametrize(
    ("content", "wanted"), [("[]", "a recipe is a JSON object, not a list."), ("{", "not a JSON file")]
)
def test_a_file_that_is_no_recipe_is_one_line(content, wanted, tmp_path, capsys):
    code, error, _ = check(tmp_path, capsys, content)
    assert code == 2
    assert error.startswith(f"nnunet_kits: error: mine: {wanted}")


@pytest.mark.parametrize("trainer", ["nnUNetTrainer_250epochs", "nnUNetTrainerDA5", "OurTrainer"])
def test_a_trainer_of_nnunets_or_of_a_users_own_folder_is_found(trainer, tmp_path, capsys, monkeypatch):
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "mine.py").write_text("class OurTrainer(nnUNetTrainer):\n    pass\n")
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path / "trainers"))
    assert check(tmp_path, capsys, changed(ZHANG, {f"{MODEL}.trainer": trainer}))[:2] == (0, "")


def test_a_file_that_a_recipe_names_lies_beside_it(tmp_path, capsys):
    (tmp_path / "Mine.json").write_text((PRESETS_FOLDER / "KiTSZhangPlans.json").read_text())
    assert check(tmp_path, capsys, changed(ZHANG, {f"{MODEL}.plans": "Mine.json"}))[0] == 0
    steps = steps_of(load_recipe(str(tmp_path / "mine.json")), RunSettings(Path("/root"), Path("/data")))
    (plan,) = (step.command for step in steps if step.verb == "plan")
    assert plan[-2:] == ("--preset", str(tmp_path / "Mine.json"))


def test_an_unknown_recipe_is_told_the_known_ones(capsys):
    assert main(["recipes", "show", "kits23"]) == 2
    assert "there is no recipe 'kits23'. Known: kits19_chenjin_unet2d, " in capsys.readouterr().err


def test_a_sound_copy_holds_with_another_loss_and_says_what_to_type(tmp_path, capsys):
    content = changed(ZHANG, {f"{MODEL}.trainer": "ZhangResUNetTrainer_DiceFocal", "conversion.dataset_id": 67})
    code, error, out = check(tmp_path, capsys, content)
    assert (code, error) == (0, "")
    assert out.splitlines()[-1] == f"Next: nnunet_kits run {tmp_path}/mine.json --data DIR --root DIR --dry-run"
