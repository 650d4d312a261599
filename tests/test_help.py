"""Help comes at once: the command line imports nothing heavy before a verb runs."""

import subprocess
import sys

import pytest

from nnunet_kits.cli.main import parser

HEAVY = ("torch", "nnunetv2", "numpy", "nibabel", "scipy", "PIL", "batchgenerators", "dynamic_network_architectures")
CODE = f"""
import sys
from nnunet_kits.cli.main import main
for arguments in sys.argv[1:]:
    try:
        main([*arguments.split(), "--help"])
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
    heavy = [name for name in {HEAVY!r} if name in sys.modules]
    assert not heavy, (arguments, heavy)
"""


def subparsers():
    (found,) = (action for action in parser()._actions if hasattr(action, "add_parser"))
    return found


def verbs():
    """Every verb of the command line."""
    return list(subparsers().choices)


def test_help_of_every_verb_exits_0_and_imports_nothing_heavy():
    command = [sys.executable, "-c", CODE, "", *verbs()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: nnunet_kits") == 1 + len(verbs())


def test_every_verb_has_a_line_of_help_and_a_description():
    assert {"env", "doctor"} <= set(verbs())
    assert [choice.dest for choice in subparsers()._choices_actions if choice.help] == verbs()
    assert [verb for verb, sub in subparsers().choices.items() if not sub.description] == []


def test_version_is_the_packages(capsys):
    from nnunet_kits import __version__
    from nnunet_kits.cli.main import main

    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"nnunet_kits {__version__}\n"
