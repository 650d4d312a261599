"""Help comes at once: the command line imports nothing heavy before a verb runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_kits.cli.main import main, parser

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "torch",
    "nnunetv2",
    "numpy",
    "nibabel",
    "scipy",
    "PIL",
    "matplotlib",
    "jinja2",
    "batchgenerators",
    "dynamic_network_architectures",
)
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

    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"nnunet_kits {__version__}\n"


def test_help_lists_the_verbs_in_the_order_of_the_readme():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("\n## Verbs\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE) == verbs()


def test_each_verb_runs_from_the_module_of_its_name():
    for verb, sub in subparsers().choices.items():
        assert sub.get_default("run").__module__ == f"nnunet_kits.cli.{verb}"


def test_without_a_verb_the_help_is_printed(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == parser().format_help()
