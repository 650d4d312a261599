"""What setup.py promises: that every package is declared which is imported, and which Pythons it is for."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from nnunet_kits.doctor import PYTHONS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nnunet_kits"
SETUP = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8"))
OPTIONAL = {"segmentation-models-pytorch", "pydicom", "highdicom", "openvino", "pyyaml"}
"""Of extras: imported by the one network that needs it, where DICOM is read and written, where OpenVINO runs
networks, and where a recipe is run."""


def promised(keyword):
    """What ``setup()`` is given under a keyword."""
    (value,) = (node.value for node in ast.walk(SETUP) if isinstance(node, ast.keyword) and node.arg == keyword)
    return ast.literal_eval(value)


def imported():
    """Distributions whose modules the package imports, anywhere in its files."""
    modules = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
    known = importlib.metadata.packages_distributions()
    foreign = modules - set(sys.stdlib_module_names) - {"nnunet_kits"}
    return {canonicalize_name(known[module][0]) for module in foreign}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    declared = {canonicalize_name(Requirement(line).name) for line in promised("install_requires")}
    assert imported() - OPTIONAL == declared


def test_the_oldest_and_the_newest_python_are_the_same_everywhere():
    lines = [line for line in promised("classifiers") if line.startswith("Programming Language :: Python :: 3.")]
    versions = [tuple(int(number) for number in line.rpartition(" ")[2].split(".")) for line in lines]
    oldest, newest = PYTHONS
    assert versions == [(3, minor) for minor in range(oldest[1], newest[1] + 1)]
    assert promised("python_requires") == f">=3.{oldest[1]}"
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert settings["tool"]["ruff"]["target-version"] == f"py3{oldest[1]}"
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {words for page in pages for words in re.findall(r"Python 3\.\d+ to 3\.\d+", page.read_text("utf-8"))}
    assert named == {f"Python 3.{oldest[1]} to 3.{newest[1]}"}
    checks = (ROOT / "docs" / "reference" / "environment.md").read_text("utf-8")
    assert f"| Python | older than 3.{oldest[1]} | newer than 3.{newest[1]} |" in checks
