import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nnunet_kits import environment
from nnunet_kits.cli.main import main
from nnunet_kits.environment import SHIM_FOLDER, find_dataset, guess_shell, nnunet_folder, shell_exports, with_shim
from nnunet_kits.errors import EnvironmentVariableError

SHIM = str(SHIM_FOLDER)
WAITING = "".join(f"export {name}={value}\n" for name, value in environment.WAITING.items())
NASTY = ["a b", "it's", 'say "hi"', "$HOME", "`id`", "back\\slash", "semi;colon", "*", "line\nbreak", "‘curly’", "é"]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in (*environment.FOLDER_VARIABLES, environment.TRAINER_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def evaluated(command, variables=None):
    """What a shell command leaves in nnUNet_raw and nnUNet_extTrainer."""
    show = f"{sys.executable} -c 'import os; print(ascii([os.environ.get(n) for n in"
    show += ' ("nnUNet_raw", "nnUNet_extTrainer")]))' + "'"
    env = {**os.environ, "KITS": f"{sys.executable} -m nnunet_kits.cli.main", **(variables or {})}
    elsewhere = tempfile.gettempdir()  # in a checkout, python -m would find that and not the installed package
    done = subprocess.run(
        [*command[:-1], f"{command[-1]}\n{show}"], env=env, cwd=elsewhere, capture_output=True, text=True, check=True
    )
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_values_survive_the_shell_whatever_characters_they_hold(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    settings = {f"V{i}": name for i, name in enumerate(NASTY)}
    show = f"{sys.executable} -c 'import os; print(ascii([os.environ[f\"V{{i}}\"] for i in range({len(NASTY)})]))'"
    script = shell_exports(settings, shell) + show
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == NASTY


def test_eval_of_env_sets_the_folders_in_bash(tmp_path):
    root = tmp_path / 'it\'s $HOME "here"'
    raw, trainer = evaluated(["bash", "-c", 'eval "$($KITS env --root "$ROOT" --shell bash)"'], {"ROOT": str(root)})
    assert raw == str(root / "nnUNet_raw")
    assert trainer == SHIM
    assert (root / "nnUNet_results").is_dir()


def test_env_piped_into_source_sets_the_folders_in_fish(tmp_path):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    root = tmp_path / "it's $HOME"
    command = "eval $KITS env --root (string escape $ROOT) --shell fish | source"
    raw, trainer = evaluated(["fish", "-c", command], {"ROOT": str(root), "HOME": str(tmp_path)})
    assert raw == str(root / "nnUNet_raw")
    assert trainer == SHIM


def test_powershell_quotes_are_doubled_and_backslash_and_dollar_left_alone():
    line = shell_exports({"nnUNet_raw": "C:\\Users\\O'Neil ’x’ $data"}, "powershell")
    assert line == "$env:nnUNet_raw = 'C:\\Users\\O''Neil ’’x’’ $data'\n"


def test_values_survive_powershell():
    if shutil.which("pwsh") is None:
        pytest.skip("PowerShell is not installed")
    settings = {f"V{i}": name for i, name in enumerate(NASTY)}
    show = f"& '{sys.executable}' -c 'import os; print(ascii([os.environ[k] for k in {list(settings)}]))'"
    script = shell_exports(settings, "powershell") + show.replace("['", "[''").replace("']", "'']")
    done = subprocess.run(["pwsh", "-NoProfile", "-Command", script], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == NASTY


def test_an_unknown_shell_is_refused():
    with pytest.raises(
        EnvironmentVariableError, match=r"shell 'tcsh' is not known. Known: bash, zsh, fish, powershell"
    ):
        shell_exports({}, "tcsh")


@pytest.mark.parametrize(
    ("variables", "shell"),
    [
        ({"SHELL": "/usr/bin/fish"}, "fish"),
        ({"SHELL": "/bin/zsh"}, "zsh"),
        ({"SHELL": "/bin/dash"}, "bash"),
        ({}, "bash"),
        ({"SHELL": "/bin/bash", "PSModulePath": "x"}, "powershell"),
    ],
)
def test_the_shell_is_guessed_from_the_environment(variables, shell):
    assert guess_shell(variables, windows=False) == shell


def test_on_windows_git_bash_is_told_from_powershell_by_shell():
    assert guess_shell({"PSModulePath": "x", "SHELL": "/usr/bin/bash"}, windows=True) == "bash"
    assert guess_shell({"PSModulePath": "x"}, windows=True) == "powershell"


def test_the_shim_is_appended_once_and_other_folders_keep_their_place():
    both = os.pathsep.join(["/mine", SHIM])
    assert with_shim(None) == with_shim("") == with_shim(SHIM) == SHIM
    assert with_shim("/mine") == with_shim(both) == both
    assert with_shim(os.pathsep.join([SHIM, "/mine"])) == os.pathsep.join([SHIM, "/mine"])


def test_the_shim_of_another_installation_gives_way_to_ours():
    old = os.path.join(os.sep, "old", "nnunet_kits", "nnunet_ext")
    assert with_shim(os.pathsep.join([old, "/mine", old])) == os.pathsep.join([SHIM, "/mine"])


def test_an_installation_whose_path_nnunet_would_cut_is_refused(monkeypatch):
    monkeypatch.setattr(environment, "SHIM_FOLDER", Path(f"/a{os.pathsep}b/nnunet_ext"))
    with pytest.raises(EnvironmentVariableError, match="Install nnunet_kits in a folder without that character"):
        with_shim(None)


def test_env_without_root_prints_what_is_set_and_the_shim(monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_results", "/r")
    assert main(["env", "--shell", "bash"]) == 0
    assert capsys.readouterr().out == f"export nnUNet_results=/r\nexport nnUNet_extTrainer={SHIM}\n{WAITING}"


OPENMP = """
import sys
from nnunet_kits.cli.main import main
code = main(sys.argv[1:])
import torch
print("loaded", "torch" in sys.modules, code)
"""


def openmp_settings(**variables):
    """What GNU OpenMP says that it read, of a process that runs a verb and then imports torch."""
    kept = {name: value for name, value in os.environ.items() if name not in environment.WAITING_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", OPENMP, "trainers"],
        env={**kept, "OMP_DISPLAY_ENV": "VERBOSE", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(re.findall(r"(OMP_WAIT_POLICY|GOMP_SPINCOUNT) = '(\w+)'", done.stderr))


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings another OpenMP than GNU's")
def test_openmp_waits_as_the_command_line_says_unless_somebody_has_chosen():
    ours = openmp_settings()
    assert {name: ours[name] for name in environment.WAITING} == environment.WAITING
    assert openmp_settings(GOMP_SPINCOUNT="77")["GOMP_SPINCOUNT"] == "77"
    assert openmp_settings(OMP_WAIT_POLICY="ACTIVE")["OMP_WAIT_POLICY"] == "ACTIVE"


def test_env_says_how_openmp_waits_unless_somebody_has_chosen(monkeypatch, capsys):
    for name in environment.WAITING_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert main(["env", "--shell", "bash"]) == 0
    assert capsys.readouterr().out.endswith(WAITING)
    for name in environment.WAITING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    assert main(["env", "--shell", "bash"]) == 0
    assert WAITING not in capsys.readouterr().out


def test_env_creates_folders_with_a_word_on_stderr_and_none_with_no_create(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["env", "--root", "nn", "--shell", "bash", "--no-create"]) == 0
    assert not Path("nn").exists()
    assert f"export nnUNet_raw={tmp_path}/nn/nnUNet_raw\n" in capsys.readouterr().out
    assert main(["env", "--root", "nn", "--shell", "bash"]) == 0
    assert capsys.readouterr().err.count("created") == 3
    assert main(["env", "--root", "nn", "--shell", "bash"]) == 0
    assert capsys.readouterr().err == ""


def test_env_prints_nothing_to_evaluate_when_a_folder_cannot_be_made(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["env", "--root", str(tmp_path / "file")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "nnUNet_raw: cannot create" in output.err
    assert "Choose a --root in which you may write, or pass --no-create" in output.err


def test_a_variable_that_is_not_set_is_refused_with_the_command_that_sets_it(monkeypatch):
    with pytest.raises(EnvironmentVariableError, match=r'nnUNet_raw is not set. Run: eval "\$\(nnunet_kits env'):
        nnunet_folder("nnUNet_raw")
    monkeypatch.setenv("nnUNet_raw", "/data")
    assert nnunet_folder("nnUNet_raw") == Path("/data")


def test_a_dataset_is_found_by_its_number_and_two_with_one_number_are_refused(tmp_path):
    assert find_dataset(tmp_path, 220) is None
    (tmp_path / "Dataset220_KiTS2023").mkdir()
    assert find_dataset(tmp_path, 220) == tmp_path / "Dataset220_KiTS2023"
    (tmp_path / "Dataset220_Other").mkdir()
    with pytest.raises(EnvironmentVariableError, match="Dataset220_KiTS2023, Dataset220_Other share the number 220"):
        find_dataset(tmp_path, 220)


def test_the_choices_of_the_command_line_are_the_shells_we_can_write():
    from nnunet_kits.cli import env

    verbs = argparse.ArgumentParser().add_subparsers()
    env.add_verb(verbs)
    shell = next(action for action in verbs.choices["env"]._actions if action.dest == "shell")
    assert tuple(shell.choices) == environment.SHELLS
