"""Checks of a machine: what nnU-Net and we need to run, what was found, and what to do about each lack."""

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import pkgutil
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnunet_kits.environment import FOLDER_VARIABLES, SHIM_FOLDER, TRAINER_VARIABLE
from nnunet_kits.machine import available_memory_bytes, cpu_count
from nnunet_kits.training.feeding import GOOD, START
from nnunet_kits.training.unpickling import unpickling_commands

PYTHONS = ((3, 11), (3, 13))
"""Oldest and newest Python that the package is tested on."""

ENOUGH_DISK_GB = {"nnUNet_raw": 5, "nnUNet_preprocessed": 50, "nnUNet_results": 5}
"""Free space below which a full KiTS edition is likely to fill the disk."""

ENOUGH_MEMORY_GB = 16
"""One case of 300x512x512 voxels exported at 0.78 mm was seen to take 7 GB, and several workers do so side by side."""

ENOUGH_GPU_MEMORY_GB = 10
"""nnU-Net's default plans for KiTS23 take 7.7 GB. Source: nnU-Net Revisited, https://arxiv.org/abs/2404.09556."""

SAFE_TORCH = (2, 10)
"""Before it a crafted file broke ``weights_only``. Source: CVE-2025-32434 (mended in 2.6), CVE-2026-24747 (in 2.10)."""

SET_IT = 'Run: eval "$(nnunet_kits env --root FOLDER)", with the folder that shall hold nnU-Net\'s data.'


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        status: "fail" stops work, "warn" may cost you time later.
        found: what is there.
        advice: what to do; empty when all is well.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""


NOT_LOOKED_FOR = Check("our trainers", "warn", "not looked for", f"Mend {TRAINER_VARIABLE} first.")
"""In place of a failure for each of them, where one variable is the cause."""


def run_checks() -> list[Check]:
    """Every check, in the order in which a reader should mend them."""
    named = check_trainer_folders()
    found = check_trainers() if named.status != "fail" else [NOT_LOOKED_FOR]
    return [
        check_python(),
        *check_packages(),
        *check_folders(),
        check_memory(),
        check_device(),
        check_compile(),
        check_openvino(),
        check_loading(),
        check_unpickling(),
        check_shim(),
        named,
        *found,
    ]


def as_table(checks: Sequence[Check]) -> str:
    """Plain text: status, name, finding; advice indented below."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<5} {check.name:<{width}}  {check.found}")
        if check.advice:
            lines.append(f"{'':<5} {'':<{width}}  -> {check.advice}")
    count = {status: sum(check.status == status for check in checks) for status in ("ok", "warn", "fail")}
    lines += ["", f"{count['ok']} ok, {count['warn']} to consider, {count['fail']} failed"]
    return "\n".join(lines)


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    """The interpreter's version."""
    found = ".".join(map(str, version))
    oldest, newest = PYTHONS
    tested = " to ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    if version[:2] < oldest:
        return Check("Python", "fail", found, f"Make a virtual environment with Python {tested}.")
    if version[:2] > newest:
        return Check("Python", "warn", found, f"Newer than what was tested ({tested}): nnU-Net may not run.")
    return Check("Python", "ok", found)


def check_packages() -> list[Check]:
    """Each requirement of the installed package against the version that is there."""
    again = "Run: pip install --upgrade nnunet_kits (or pip install . in a clone)."
    try:
        from packaging.requirements import Requirement

        requirements = [Requirement(text) for text in importlib.metadata.requires("nnunet_kits") or []]
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        return [Check("packages", "fail", f"the installation is incomplete: {error}", again)]
    checks = []
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            checks.append(Check(requirement.name, "fail", "not installed", again))
            continue
        if requirement.specifier.contains(found, prereleases=True):
            checks.append(Check(requirement.name, "ok", found))
        else:
            advice = f'Run: pip install "{requirement.name}{requirement.specifier}"'
            checks.append(Check(requirement.name, "fail", f"{found}, but {requirement.specifier} is needed", advice))
    return checks


def check_folders() -> list[Check]:
    """Each of nnU-Net's three folders: set, there, readable, writable, with space left, and not shared."""
    checks = [_check_folder(variable) for variable in FOLDER_VARIABLES]
    owners: dict[str, str] = {}
    for variable in FOLDER_VARIABLES:
        if value := os.environ.get(variable):
            other = owners.setdefault(os.path.realpath(value), variable)
            if other != variable:
                advice = f"nnU-Net would overwrite one's files with the other's. {SET_IT}"
                checks.append(Check(variable, "fail", f"the same folder as {other}: {value}", advice))
    return checks


def _check_folder(variable: str) -> Check:
    value = os.environ.get(variable)
    if not value:
        return Check(variable, "fail", "not set", SET_IT)
    folder = Path(value)
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        return Check(variable, "fail", f"{value}: {what}", f"Create it, or choose another. {SET_IT}")
    try:
        next(folder.iterdir(), None)
        with tempfile.TemporaryFile(dir=folder) as handle:
            handle.write(b"nnunet_kits doctor")
    except OSError as error:
        advice = f"Make it readable and writable for this user, or choose another folder. {SET_IT}"
        return Check(variable, "fail", f"{value}: cannot be read and written ({error.strerror})", advice)
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{value} ({free:.0f} GB free)"
    if not folder.is_absolute():
        return Check(variable, "warn", found, "A relative path only works from this one folder: make it absolute.")
    if free < ENOUGH_DISK_GB[variable]:
        advice = f"A full KiTS edition may need {ENOUGH_DISK_GB[variable]} GB here: make room or choose another disk."
        return Check(variable, "warn", found, advice)
    return Check(variable, "ok", found)


def check_memory() -> Check:
    """Main memory that a new process can get, and the processors it may use."""
    cores, free = cpu_count(), available_memory_bytes()
    if free is None:
        return Check("memory", "ok", f"free memory not known on this system, {cores} CPU cores")
    found = f"{free / 1e9:.1f} GB free, {cores} CPU cores"
    if free < ENOUGH_MEMORY_GB * 1e9:
        advice = (
            f"Under {ENOUGH_MEMORY_GB} GB large cases need few workers: "
            "export nnUNet_def_n_proc=1, and nnUNetv2_preprocess -np 1, nnUNetv2_predict -npp 1 -nps 1."
        )
        return Check("memory", "warn", found, advice)
    return Check("memory", "ok", found)


def check_device() -> Check:
    """What torch computes on."""
    try:
        import torch
    except Exception as error:  # a broken build raises OSError or worse from its shared libraries
        advice = "Install torch as https://pytorch.org/get-started/locally/ says for this machine."
        return Check("device", "fail", f"torch cannot be imported: {error}", advice)
    if torch.cuda.is_available():
        names = []
        memory = []
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory.append(properties.total_memory / 1e9)
            names.append(f"{properties.name}, {memory[-1]:.0f} GB")
        if min(memory) < ENOUGH_GPU_MEMORY_GB:
            advice = "Plan for it: nnunet_kits plan ... --gpu-memory-gb G, with 2 GB less than the card has."
            return Check("device", "warn", "; ".join(names), advice)
        return Check("device", "ok", "; ".join(names))
    if torch.backends.mps.is_available():
        return Check("device", "warn", "Apple MPS", "Pass -device mps to nnU-Net; training KiTS there takes weeks.")
    advice = "Pass -device cpu to nnU-Net. That suits the demo; training on KiTS needs a GPU."
    if torch.version.cuda:
        advice += " If this machine has one, nvidia-smi must list it, and the driver must be new enough for CUDA "
        advice += f"{torch.version.cuda}."
    return Check("device", "warn", "CPU only", advice)


def check_compile() -> Check:
    """Whether ``torch.compile``, which nnU-Net uses on CUDA unless told not to, has what it needs."""
    name = "torch.compile"
    try:
        import torch

        cuda = torch.cuda.is_available()
    except Exception:  # check_device tells
        cuda = False
    asked = os.environ.get("nnUNet_compile", "t").lower() in ("true", "1", "t")
    if not cuda or os.name == "nt" or not asked:
        return Check(name, "ok", "not used here")
    missing = [] if importlib.util.find_spec("triton") else ["triton"]
    missing += [] if os.environ.get("CC") or any(map(shutil.which, ("gcc", "clang", "cc"))) else ["a C compiler"]
    if missing:
        advice = "Install it, or turn compilation off: export nnUNet_compile=F (training is then slower)."
        return Check(name, "warn", f"{' and '.join(missing)} missing", advice)
    return Check(name, "ok", "triton and a C compiler found")


def check_openvino() -> Check:
    """Whether ``predict --backend openvino`` can be tried on a CPU."""
    try:
        found = importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return Check("OpenVINO", "ok", "not installed; only predict --backend openvino needs it (extra cpu)")
    return Check("OpenVINO", "ok", f"{found}; on a CPU, predict --backend openvino may be faster")


def check_loading() -> Check:
    """What the newest training log says of loading: samples a second that the network takes and gets."""
    results, name = os.environ.get("nnUNet_results"), "loading"
    logs = Path(results).glob("Dataset*/*/fold_*/training_log_*.txt") if results else ()
    for log in sorted(logs, key=lambda file: file.stat().st_mtime, reverse=True):
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if START in line]
        if lines:
            found, _, advice = lines[-1].partition(START)[2].strip().partition(". ")
            where = f"{log.parent.parent.name}, {log.parent.name}: {found}"
            return Check(name, "ok", where) if advice == GOOD else Check(name, "warn", where, advice)
    return Check(name, "ok", "no training of ours has said yet whether its network waits for batches")


def check_unpickling() -> Check:
    """Which of nnU-Net's commands run the code in a stranger's checkpoint, and a torch whose safe reading is broken."""
    name = "checkpoints"
    torch_version = _version_of("torch")
    if torch_version is not None and torch_version < SAFE_TORCH:
        found = f"torch {'.'.join(map(str, torch_version))} can be made to run code by a file that it reads as data"
        return Check(name, "warn", found, "Read only checkpoints that you trust, or install torch 2.10 or later.")
    commands = unpickling_commands()
    if not commands:
        return Check(name, "ok", "no command of nnU-Net unpickles files")
    advice = "Give them only files that you trust; nnunet_kits predict, and our trainers, read checkpoints as data."
    return Check(name, "warn", f"unpickled, so that their code runs, by {', '.join(commands)}", advice)


def _version_of(package: str) -> tuple[int, ...] | None:
    """Major and minor version of an installed package."""
    try:
        return tuple(int(part) for part in importlib.metadata.version(package).split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None


def check_shim(folder: Path = SHIM_FOLDER) -> Check:
    """The shim folder holds one module and nothing else that nnU-Net would import."""
    modules = sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
    if modules == ["nnunet_kits_trainers"]:
        return Check("shim", "ok", str(folder))
    found = f"{folder} holds {', '.join(modules) or 'no module'}, not nnunet_kits_trainers alone"
    return Check("shim", "fail", found, "Remove what was added, or run: pip install --force-reinstall nnunet_kits.")


def check_trainer_folders() -> Check:
    """``nnUNet_extTrainer`` names the shim, and no folder through which our package would be imported twice."""
    value = os.environ.get(TRAINER_VARIABLE)
    advice = 'Run: eval "$(nnunet_kits env)"'
    if not value:
        return Check(TRAINER_VARIABLE, "fail", "not set", f"{advice}, so that nnU-Net finds our trainers.")
    folders = [Path(os.path.realpath(folder)) for folder in value.split(os.pathsep) if folder.strip()]
    package = SHIM_FOLDER.parent
    for folder in folders:
        if folder != SHIM_FOLDER and (folder.is_relative_to(package) or package.is_relative_to(folder)):
            found = f"{folder} contains or is part of the package {package}"
            why = "nnU-Net would import our classes a second time, under other names, that no checkpoint can load"
            return Check(TRAINER_VARIABLE, "fail", found, f"Take it out: {why}. Name {SHIM_FOLDER} instead.")
    if SHIM_FOLDER not in folders:
        return Check(TRAINER_VARIABLE, "fail", f"{value} lacks {SHIM_FOLDER}", f"{advice}, which adds it.")
    gone = [str(folder) for folder in folders if not folder.is_dir()]
    if gone:
        return Check(TRAINER_VARIABLE, "warn", f"no such folder: {', '.join(gone)}", "Take it out; nnU-Net skips it.")
    return Check(TRAINER_VARIABLE, "ok", value)


def check_trainers() -> list[Check]:
    """nnU-Net itself finds each of our named trainers, and the class it finds is ours."""
    try:
        from nnunet_kits.training.trainers import NAMED_TRAINERS
    except Exception as error:  # a broken torch below it
        advice = "Mend the packages above first, or run: pip install --force-reinstall nnunet_kits."
        return [Check("our trainers", "fail", f"cannot be imported: {error}", advice)]
    return [check_trainer(name) for name in NAMED_TRAINERS]


def check_trainer(name: str) -> Check:
    """nnU-Net's own look-up of one trainer."""
    try:
        trainer = _ask_nnunet(name)
    except Exception as error:  # whatever the modules in other people's folders raise
        sentence = str(error).split("\n")[0].split(". ")[0]
        advice = f"Mend the checks above first: {TRAINER_VARIABLE} must name {SHIM_FOLDER}."
        return Check(name, "fail", f"nnU-Net: {type(error).__name__}: {sentence}", advice)
    package = trainer.__module__.split(".")[0]
    found = f"nnU-Net finds {trainer.__module__}.{trainer.__qualname__}"
    if package == "nnunet_kits":
        return Check(name, "ok", found)
    if package == "nnunetv2":
        advice = "nnU-Net's own classes go first: remove that one (pip install --force-reinstall nnunetv2)."
    else:
        advice = f"Another folder in {TRAINER_VARIABLE} goes first: put {SHIM_FOLDER} before it, or rename that class."
    return Check(name, "fail", f"{found}, which is not ours", advice)


def _ask_nnunet(name: str) -> Any:
    """Use nnU-Net's own look-up, without what it and its imports print."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        return recursive_find_trainer_class_by_name(name)
