"""The verb ``env``: nnU-Net's folders and our trainers, as lines of a shell."""

import argparse
import os
import sys
from pathlib import Path

from nnunet_kits.cli.output import Result
from nnunet_kits.errors import EnvironmentVariableError


def add_verb(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``env``."""
    env = verbs.add_parser(
        "env",
        help="print the shell lines that set nnU-Net's folders and make our trainers known",
        description="Print shell lines that set nnUNet_raw, nnUNet_preprocessed, nnUNet_results and nnUNet_extTrainer.",
        epilog="""How to use it:
  bash, zsh    eval "$(nnunet_kits env --root ~/nnunet)"
  fish         nnunet_kits env --root ~/nnunet --shell fish | source
  PowerShell   nnunet_kits env --root ~/nnunet --shell powershell | Out-String | Invoke-Expression
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    env.add_argument(
        "--root",
        type=Path,
        metavar="DIR",
        help="folder that holds (or shall hold) nnUNet_raw, nnUNet_preprocessed and nnUNet_results; "
        "without it the folders stay as they are set now",
    )
    env.add_argument(
        "--shell", choices=("bash", "zsh", "fish", "powershell"), help="default: guessed from SHELL and PSModulePath"
    )
    env.add_argument("--no-create", action="store_true", help="do not create missing folders")
    env.set_defaults(run=run)


def run(options: argparse.Namespace) -> Result:
    """Print the lines on stdout, what was created on stderr. Nothing is printed to evaluate when it fails."""
    from nnunet_kits import environment

    if options.root is not None:
        root = Path(os.path.abspath(options.root.expanduser()))  # nnU-Net runs anywhere
        settings = {variable: str(root / variable) for variable in environment.FOLDER_VARIABLES}
        if not options.no_create:
            _create(settings)
    else:
        settings = {name: os.environ[name] for name in environment.FOLDER_VARIABLES if os.environ.get(name)}
    settings[environment.TRAINER_VARIABLE] = environment.with_shim(os.environ.get(environment.TRAINER_VARIABLE))
    settings |= {name: os.environ[name] for name in environment.WAITING if name in os.environ}  # see cli.main
    shell = options.shell or environment.guess_shell(os.environ)
    print(environment.shell_exports(settings, shell), end="")
    return Result(settings)


def _create(settings: dict[str, str]) -> None:
    """Make the folders that are not there yet."""
    for variable, value in settings.items():
        folder = Path(value)
        if folder.is_dir():
            continue
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise EnvironmentVariableError(
                f"{variable}: cannot create {folder} ({error.strerror}). "
                "Choose a --root in which you may write, or pass --no-create."
            ) from error
        print(f"created {folder}", file=sys.stderr)
