"""The folders nnU-Net works in, and the folder where it finds our trainers.

nnU-Net is told where everything lies by four environment variables: ``nnUNet_raw``, ``nnUNet_preprocessed``,
``nnUNet_results`` and, for trainers outside its own tree, ``nnUNet_extTrainer``.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from nnunet_kits.errors import EnvironmentVariableError

FOLDER_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
TRAINER_VARIABLE = "nnUNet_extTrainer"

SHIM_FOLDER = Path(__file__).resolve().parent / "nnunet_ext"
"""What ``nnUNet_extTrainer`` must name: a folder with one module, which hands out our trainers on demand."""


CPU_VARIABLES = {"nnUNet_def_n_proc": "1", "nnUNet_compile": "F"}
"""For a machine without GPU: few processes, each of which imports torch, and no compiler that takes minutes."""

WAITING = {"OMP_WAIT_POLICY": "PASSIVE"}
"""How OpenMP's threads wait for each other: asleep, not spinning, so that a busy process beside them takes its share
of the CPUs and not most of their time. ``benchmarks/busy.py`` measures what else there is."""

WAITING_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Whoever sets one of these has chosen for himself."""

SHELLS = ("bash", "zsh", "fish", "powershell")
"""Shells whose assignments :func:`shell_exports` writes; the bash form suits every POSIX shell."""

POWERSHELL_QUOTES = "'\u2018\u2019\u201a\u201b"
"""Any of these closes a single-quoted PowerShell string; doubled it stands for itself."""


def nnunet_folder(variable: str) -> Path:
    """The folder that one of nnU-Net's environment variables names.

    Raises:
        EnvironmentVariableError: the variable is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise EnvironmentVariableError(
            f'{variable} is not set. Run: eval "$(nnunet_kits env --root FOLDER)", or set it to an existing folder.'
        )
    return Path(value)


def waiting(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables that tell OpenMP's threads how to wait, none where one is set already.

    They are read once, when torch is imported.

    Args:
        variables: the environment.
    """
    return {} if any(variables.get(name) for name in WAITING_VARIABLES) else dict(WAITING)


def program(name: str) -> str:
    """The file of a command: that of the search path, else that beside this Python, whose environment is not active."""
    return shutil.which(name) or str(Path(sys.executable).with_name(name))


def find_dataset(root: Path, dataset_id: int) -> Path | None:
    """The one ``DatasetNNN_*`` folder with this number below ``root``, or None.

    Raises:
        EnvironmentVariableError: several folders share the number; nnU-Net refuses that too.
    """
    found = sorted(p for p in root.glob(f"Dataset{dataset_id:03d}_*") if p.is_dir())
    if len(found) > 1:
        names = ", ".join(p.name for p in found)
        raise EnvironmentVariableError(
            f"{root}: {names} share the number {dataset_id:03d}, but nnU-Net needs it unique. "
            "Rename or remove all but one."
        )
    return found[0] if found else None


def with_shim(value: str | None) -> str:
    """``nnUNet_extTrainer`` with our shim folder in it once; other folders keep their place.

    A shim of another installation (an old virtual environment) gives way to ours.

    Args:
        value: what the variable holds now: folders joined by ``os.pathsep``, or None.

    Raises:
        EnvironmentVariableError: the shim folder's own path holds ``os.pathsep``, at which nnU-Net would cut it.
    """
    shim = str(SHIM_FOLDER)
    if os.pathsep in shim:
        raise EnvironmentVariableError(
            f"{TRAINER_VARIABLE}: nnU-Net splits it at {os.pathsep!r}, but this installation has that in its own path: "
            f"{shim}. Install nnunet_kits in a folder without that character."
        )
    folders = [shim if _is_shim(folder) else folder for folder in (value or "").split(os.pathsep) if folder.strip()]
    return os.pathsep.join(dict.fromkeys([*folders, shim] if shim not in folders else folders))


def guess_shell(variables: Mapping[str, str], windows: bool = os.name == "nt") -> str:
    """The shell that most likely reads our output, from the environment it started us with.

    ``PSModulePath`` is PowerShell's, but Windows sets it for every process: there ``SHELL`` (Git Bash) goes first.
    """
    if "PSModulePath" in variables and not (windows and variables.get("SHELL")):
        return "powershell"
    name = Path(variables.get("SHELL", "bash")).stem
    return name if name in SHELLS else "bash"


def shell_exports(settings: Mapping[str, str], shell: str) -> str:
    """Lines that set the variables when the shell evaluates them, whatever characters the values hold.

    Raises:
        EnvironmentVariableError: unknown shell.
    """
    if shell not in SHELLS:
        raise EnvironmentVariableError(
            f"shell {shell!r} is not known. Known: {', '.join(SHELLS)}. Pass one to --shell."
        )
    return "".join(_export(name, value, shell) + "\n" for name, value in settings.items())


def _is_shim(folder: str) -> bool:
    """Whether a folder is the shim, of this or another installation."""
    return os.path.realpath(folder) == str(SHIM_FOLDER) or Path(folder).parts[-2:] == SHIM_FOLDER.parts[-2:]


def _export(name: str, value: str, shell: str) -> str:
    """One assignment; inside single quotes each shell has its own way to write a quote."""
    if shell == "powershell":
        for quote in POWERSHELL_QUOTES:
            value = value.replace(quote, quote * 2)
        return f"$env:{name} = '{value}'"
    if shell == "fish":
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"set -gx {name} '{escaped}'"
    return f"export {name}={shlex.quote(value)}"
