"""What Tab offers, asked as the shells ask: through argcomplete, with the line and where the cursor stands in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import argcomplete
import pytest
from test_help import HEAVY

from nnunet_kits.derivation.rule import rule_names
from nnunet_kits.inference.system import system_names
from nnunet_kits.planning.presets import preset_names
from nnunet_kits.postprocessing import chain_names
from nnunet_kits.training.names import heads, parse_trainer_name

DATASET = "Dataset220_KiTS2023"


PROGRAM = f"""
import functools, io, json, os, sys
import argcomplete
from nnunet_kits.cli.completion import complete
from nnunet_kits.cli.main import parser
ask, offered = argcomplete.autocomplete, []
for line in sys.argv[1:]:
    os.environ |= dict(_ARGCOMPLETE="1", _ARGCOMPLETE_IFS="\\n", _ARGCOMPLETE_DFS="\\t", COMP_LINE=line)
    os.environ["COMP_POINT"] = str(len(line))
    answer = io.StringIO()
    argcomplete.autocomplete = functools.partial(ask, output_stream=answer, exit_method=lambda code: None)
    complete(parser())
    offered.append(dict(word.split("\\t") for word in answer.getvalue().splitlines() if not word.startswith("-")))
print(json.dumps([offered, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def ask(*lines):
    """What is offered behind every line, options left out, as word -> description; and what heavy was imported."""
    command = [sys.executable, "-c", PROGRAM, *(f"nnunet_kits {line}" for line in lines)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def offered(*lines):
    """The words that are offered behind every line, without a space behind the last of them."""
    return [[word.strip() for word in words] for words in ask(*lines)[0]]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def datasets(nnunet):
    """One dataset that is planned and has a model, and one that is only converted."""
    for folder in ("nnUNet_raw/Dataset064_KiTS2019", f"nnUNet_raw/{DATASET}", f"nnUNet_preprocessed/{DATASET}"):
        (nnunet / folder).mkdir(parents=True)
    plans = {"configurations": {"3d_lowres": {}, "3d_cascade_fullres": {}}}
    for name, content in (("KiTSCascadePlans", plans), ("nnUNetPlans", []), ("dataset", {}), ("splits_final", [])):
        (nnunet / "nnUNet_preprocessed" / DATASET / f"{name}.json").write_text(json.dumps(content))
    (nnunet / "nnUNet_results" / DATASET / "ResUNetTrainer__KiTSCascadePlans__3d_lowres").mkdir(parents=True)
    return nnunet


def test_verbs_and_choices_are_offered():
    words = offered("pl", "predict --device c", "convert --year ")
    assert words == [["plan"], ["cuda", "cpu"], ["19", "21", "23"]]


def test_presets_chains_rules_and_systems_are_offered_beside_json_files_of_ones_own(tmp_path):
    (tmp_path / "mine.json").touch()
    (tmp_path / "mine.txt").touch()
    lines = ("plan --preset ", "postprocess --chain ", "postprocess --chains clean no_", "derive --rule ")
    presets, chains, more, rules = offered(*lines)
    assert presets == [*preset_names(), "mine.json"]
    assert chains == [*chain_names(), "mine.json"]
    assert rules == [*rule_names(), "mine.json"]
    assert more == [name for name in chain_names() if name.startswith("no_")]
    assert offered("predict --system ") == [[*system_names(), "mine.json"]]


def test_a_trainers_name_is_completed_part_by_part_in_the_order_of_the_grammar():
    lines = ("trainers ", "trainers ResUNetTrainer_TumorFocus_", "cascade -tr ResUNetTrainer")
    first, names, with_head = offered(*lines)
    assert first == heads()
    assert "ResUNetTrainer_TumorFocus_AdamWCosine" in names
    assert "ResUNetTrainer_TumorFocus_CE" not in names  # a loss goes before a sampling
    assert [str(parse_trainer_name(name)) for name in names] == names
    assert {"ResUNetTrainer", "ResUNetTrainer_Mixup"} <= set(with_head)


def test_the_trainer_of_the_previous_stage_is_completed_too():
    behind, option = offered("cascade -tr ResUNetTrainer_after_Plain", "cascade --previous-trainer Zhang")
    assert behind == ["ResUNetTrainer_after_PlainUNetTrainer"]
    assert option == [head for head in heads() if head.startswith("Zhang")]


def test_datasets_are_offered_with_their_names_then_their_plans_and_configurations(datasets):
    (numbers, *others), _ = ask(
        "plan -d ",
        "preprocess -d 220 -p ",
        "preprocess -p ",
        "preprocess -d 64 -p ",
        "preprocess -d 220 -p KiTSCascadePlans -c 3d_",
        "preprocess -d 220 -p nnUNetPlans -c ",  # which holds no plans
    )
    assert numbers == {"64": "Dataset064_KiTS2019", "220": DATASET}
    plans = ["KiTSCascadePlans", "nnUNetPlans"]
    assert [list(words) for words in others] == [plans, plans, [], ["3d_lowres", "3d_cascade_fullres"], []]


def test_trained_models_are_offered_and_other_folders_where_none_fits(datasets, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "file").touch()
    model = f"{datasets}/nnUNet_results/{DATASET}/ResUNetTrainer__KiTSCascadePlans__3d_lowres"
    fine, coarse, other = offered(
        "predict --fine ", f"predict --fine {model} --coarse {datasets}/nnUNet_results/Dat", "report --model el"
    )
    assert fine == coarse == [model]
    assert other == ["elsewhere/"]


def test_without_nnunets_folders_nothing_is_offered_and_nothing_fails(monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)
    assert offered("preprocess -d ", "preprocess -d 220 -p ", "preprocess -d 220 -p P -c ") == [[], [], []]


def test_completion_imports_nothing_heavy(datasets):
    lines = ("plan --preset ", "postprocess --chain ", "cascade -tr ", "preprocess -d 220 -p nnUNetPlans -c ")
    assert ask(*lines, "plan -d ", "predict --fine ")[1] == []


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_asks_the_installed_command():
    line = "nnunet_kits plan --preset KiTSZ"
    script = f"""{argcomplete.shellcode(["nnunet_kits"], shell="bash")}
COMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9
_python_argcomplete nnunet_kits
echo "${{COMPREPLY[@]}}"
complete -p nnunet_kits
"""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command, environment = ["bash", "--norc", "-c", script], {**os.environ, "PATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    offered, registered = done.stdout.splitlines()
    assert offered.strip() == "KiTSZhangPlans"
    assert "-F _python_argcomplete nnunet_kits" in registered
