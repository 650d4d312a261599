import json
import os
import shutil
import tempfile
import types

import pytest

from nnunet_kits import doctor
from nnunet_kits.cli.main import main
from nnunet_kits.doctor import Check
from nnunet_kits.environment import FOLDER_VARIABLES, SHIM_FOLDER, TRAINER_VARIABLE

PACKAGE = SHIM_FOLDER.parent


@pytest.fixture(autouse=True)
def _a_good_environment(monkeypatch, tmp_path):
    for name in FOLDER_VARIABLES:
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv(TRAINER_VARIABLE, str(SHIM_FOLDER))
    monkeypatch.delenv("nnUNet_compile", raising=False)


def folder_check(variable="nnUNet_raw"):
    return next(check for check in doctor.check_folders() if check.name == variable)


def test_exit_code_is_1_exactly_when_a_check_failed(monkeypatch, capsys):
    for status, code in (("ok", 0), ("warn", 0), ("fail", 1)):
        monkeypatch.setattr(doctor, "run_checks", lambda status=status: [Check("disk", status, "12 GB", "make room")])
        assert main(["doctor"]) == code
        assert capsys.readouterr().out.splitlines()[:2] == [f"{status:<5} disk  12 GB", "            -> make room"]
        assert main(["doctor", "--json"]) == code
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is (code == 0)
        assert report["checks"] == [{"name": "disk", "status": status, "found": "12 GB", "advice": "make room"}]


def test_every_check_that_does_not_pass_says_what_to_do(monkeypatch):
    for name in (*FOLDER_VARIABLES, TRAINER_VARIABLE):
        monkeypatch.delenv(name)
    monkeypatch.setattr(doctor, "_ask_nnunet", lambda name: None)
    monkeypatch.setattr(doctor, "check_trainers", list)
    checks = doctor.run_checks()
    assert [check.name for check in checks if check.status == "fail"] == [*FOLDER_VARIABLES, TRAINER_VARIABLE]
    assert all(bool(check.advice) == (check.status != "ok") for check in checks)


def test_python_older_than_3_11_fails_and_newer_than_tested_warns():
    assert doctor.check_python((3, 10, 1)).advice == "Make a virtual environment with Python 3.11 to 3.13."
    assert doctor.check_python((3, 10, 1)).status == "fail"
    assert doctor.check_python((3, 11, 0)).status == doctor.check_python((3, 13, 9)).status == "ok"
    assert doctor.check_python((3, 14, 0)).status == "warn"


def test_the_packages_of_this_environment_pass():
    checks = {check.name: check for check in doctor.check_packages()}
    assert {"nnunetv2", "torch", "numpy"} <= set(checks)
    assert "pytest" not in checks  # an extra, not a requirement
    assert {check.status for check in checks.values()} == {"ok"}


def test_a_package_that_is_missing_or_of_another_version_fails(monkeypatch):
    wanted = ["nnunetv2>=2.8.1,<2.9", "no-such-package"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: wanted)
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: _version(name))
    version, missing = doctor.check_packages()
    assert (version.status, version.advice) == ("fail", 'Run: pip install "nnunetv2<2.9,>=2.8.1"')
    assert (missing.status, missing.found) == ("fail", "not installed")


def _version(name):
    if name == "nnunetv2":
        return "2.5.0"
    raise doctor.importlib.metadata.PackageNotFoundError(name)


def test_a_package_that_is_not_installed_itself_fails(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "requires", _version)
    (check,) = doctor.check_packages()
    assert check.status == "fail"
    assert "the installation is incomplete" in check.found


def test_a_good_folder_passes_and_is_left_empty():
    check = folder_check()
    assert check.status in ("ok", "warn")  # warns on a full disk
    assert os.listdir(os.environ["nnUNet_raw"]) == []


def test_folders_that_are_unset_missing_or_files_fail(monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_raw")
    assert folder_check().found == "not set"
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    assert folder_check().found.endswith("no such folder")
    (tmp_path / "file").touch()
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "file"))
    assert folder_check().found.endswith("not a folder")
    assert folder_check().status == "fail"


def test_a_folder_that_cannot_be_written_fails(monkeypatch):
    def refuse(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert folder_check().status == "fail"
    assert "cannot be read and written (Read-only file system)" in folder_check().found


def test_little_free_space_warns(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: types.SimpleNamespace(free=20e9))
    assert folder_check("nnUNet_preprocessed").status == "warn"
    assert "may need 50 GB" in folder_check("nnUNet_preprocessed").advice
    assert folder_check("nnUNet_raw").status == "ok"


def test_a_relative_folder_warns(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("nnUNet_raw", "nnUNet_raw")
    assert "make it absolute" in folder_check().advice


def test_two_variables_for_one_folder_fail(monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", os.environ["nnUNet_raw"])
    check = doctor.check_folders()[-1]
    assert (check.name, check.status) == ("nnUNet_preprocessed", "fail")
    assert "the same folder as nnUNet_raw" in check.found


def test_little_memory_warns_and_unknown_memory_does_not(monkeypatch):
    statuses = []
    for free in (8_000_000_000, 64_000_000_000, None):
        monkeypatch.setattr(doctor, "available_memory_bytes", lambda free=free: free)
        statuses.append(doctor.check_memory().status)
    assert statuses == ["warn", "ok", "ok"]


@pytest.mark.parametrize(("gigabytes", "status"), [(8, "warn"), (24, "ok")])
def test_a_gpu_is_named_with_its_memory_and_a_small_one_warns(monkeypatch, gigabytes, status):
    import torch

    card = types.SimpleNamespace(name="Card", total_memory=gigabytes * 10**9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    check = doctor.check_device()
    assert (check.found, check.status) == (f"Card, {gigabytes} GB", status)


def test_without_a_gpu_the_device_to_pass_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert "-device cpu" in doctor.check_device().advice
    assert doctor.check_compile().found == "not used here"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "-device mps" in doctor.check_device().advice


def test_compilation_without_triton_or_compiler_warns_unless_it_is_off(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(doctor.os, "name", "posix")
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    check = doctor.check_compile()
    assert (check.status, check.found) == ("warn", "triton and a C compiler missing")
    assert "nnUNet_compile=F" in check.advice
    monkeypatch.setenv("nnUNet_compile", "F")
    assert doctor.check_compile().status == "ok"


def test_the_shim_holds_one_module_and_a_second_one_fails(tmp_path):
    assert doctor.check_shim().status == "ok"
    assert "holds no module" in doctor.check_shim(tmp_path).found
    (tmp_path / "nnunet_kits_trainers.py").touch()
    (tmp_path / "stray.py").touch()
    check = doctor.check_shim(tmp_path)
    assert check.status == "fail"
    assert "nnunet_kits_trainers, stray" in check.found


@pytest.mark.parametrize("folder", [PACKAGE, PACKAGE.parent, PACKAGE / "training"])
def test_pointing_nnunet_at_the_package_itself_fails(folder, monkeypatch):
    monkeypatch.setenv(TRAINER_VARIABLE, os.pathsep.join([str(folder), str(SHIM_FOLDER)]))
    check = doctor.check_trainer_folders()
    assert check.status == "fail"
    assert "contains or is part of the package" in check.found
    assert f"Name {SHIM_FOLDER} instead" in check.advice


def test_trainer_folders_without_the_shim_fail_and_folders_that_are_gone_warn(monkeypatch, tmp_path):
    assert doctor.check_trainer_folders().status == "ok"
    monkeypatch.setenv(TRAINER_VARIABLE, str(tmp_path))
    assert doctor.check_trainer_folders().status == "fail"
    monkeypatch.setenv(TRAINER_VARIABLE, os.pathsep.join([str(SHIM_FOLDER), str(tmp_path / "gone")]))
    assert doctor.check_trainer_folders().status == "warn"
    monkeypatch.delenv(TRAINER_VARIABLE)
    assert doctor.check_trainer_folders().found == "not set"


def test_nnunet_finds_our_trainers_through_the_shim():
    checks = doctor.check_trainers()
    assert checks[0].name == "ResUNetTrainer"
    assert [check.status for check in checks] == ["ok"] * len(checks)
    assert checks[0].found == "nnU-Net finds nnunet_kits.training.trainers.ResUNetTrainer"


def test_nnunet_does_not_find_our_trainers_without_the_shim(monkeypatch):
    monkeypatch.delenv(TRAINER_VARIABLE)
    check = doctor.check_trainer("ResUNetTrainer")
    assert check.status == "fail"
    assert "RuntimeError: Could not find requested nnunet trainer ResUNetTrainer" in check.found
    assert str(SHIM_FOLDER) in check.advice


def test_a_class_of_another_folder_with_our_name_fails(monkeypatch, tmp_path):
    (tmp_path / "their_trainers.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class ResUNetTrainer(nnUNetTrainer): pass\n"
    )
    monkeypatch.setenv(TRAINER_VARIABLE, os.pathsep.join([str(tmp_path), str(SHIM_FOLDER)]))
    check = doctor.check_trainer("ResUNetTrainer")
    assert check.status == "fail"
    assert "their_trainers.ResUNetTrainer, which is not ours" in check.found
    assert "goes first" in check.advice


def test_a_class_of_nnunet_itself_with_our_name_fails():
    check = doctor.check_trainer("nnUNetTrainer")
    assert check.status == "fail"
    assert "nnU-Net's own classes go first" in check.advice


def test_trainers_that_cannot_be_imported_fail(monkeypatch):
    monkeypatch.setitem(doctor.sys.modules, "nnunet_kits.training.trainers", None)
    (check,) = doctor.check_trainers()
    assert check.status == "fail"
    assert "cannot be imported" in check.found


def test_one_unset_variable_is_not_a_failure_for_every_trainer(monkeypatch):
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    monkeypatch.setattr(doctor, "check_trainers", lambda: pytest.fail("nothing can be found"))
    failed = [check.name for check in doctor.run_checks() if "rainer" in check.name]
    assert failed == ["nnUNet_extTrainer", "our trainers"]
