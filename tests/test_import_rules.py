"""Who may import whom: a module imports from lower layers and from itself, never from a sibling or from above."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nnunet_kits"

LAYERS = (
    {"errors", "labels"},
    {"releases", "environment", "machine", "atomic", "model_folder", "geometry", "values", "json_files", "complaints"}
    | {"palette"},
    {"images", "intensity", "resampling", "components", "shipped", "nnunet_files"},
    {"cases"},
    {"conversion", "phantom", "evaluation", "measurement", "preparation", "status", "models"}
    | {"architectures", "losses", "augmentation"},
    {"planning", "preprocessing", "training", "postprocessing", "derivation", "dicom_output"},
    {"inference"},
    {"recipes", "reporting", "doctor"},
    {"workflow", "demo", "costs", "segment"},
    {"cli", "grand_challenge"},
)
NO_TORCH = {
    "errors",
    "labels",
    "releases",
    "environment",
    "machine",
    "atomic",
    "model_folder",
    "geometry",
    "shipped",
    "values",
    "json_files",
    "complaints",
    "nnunet_files",
    "images",
    "intensity",
    "resampling",
    "components",
    "cases",
}
NO_TORCH |= {"conversion", "phantom", "postprocessing", "evaluation", "measurement", "preparation", "derivation"}
NO_TORCH |= {"recipes", "status", "workflow", "models", "palette", "dicom_output"}
NO_NNUNET = NO_TORCH | {"architectures"}  # losses reuse nnU-Net's own
TENSORS = {"resampling/boxes.py"}  # applies operators on the GPU: the only file of its part that imports torch
SHIM = "nnunet_ext"  # may import training: it only hands its trainers out

FILES = sorted(PACKAGE.rglob("*.py"))


def unit(path):
    """The part of the package that a file belongs to: ``images`` or ``conversion``."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def layer(name):
    return next(i for i, names in enumerate(LAYERS) if name in names)


def imports(path):
    """(line, dotted name) of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def own_imports(path):
    """(line, part) of every import of another part of the package."""
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] == "nnunet_kits" and len(parts) > 1 and parts[1] not in ("__version__", unit(path)):
            yield line, parts[1]


def breaches(path):
    """Every forbidden import of a file, as sentences."""
    me = unit(path)
    for line, other in own_imports(path):
        if me == "__init__" or (me == SHIM and other != "training") or other in ("cli", SHIM):
            yield f"{path}:{line}: {me} must not import {other}"
        elif me != SHIM and layer(other) >= layer(me):
            yield f"{path}:{line}: {me} (layer {layer(me)}) must not import {other} (layer {layer(other)})"
    for line, name in imports(path):
        root = name.split(".")[0]
        tensors = path.relative_to(PACKAGE).as_posix() in TENSORS
        if root in ("torch", "torchvision") and me in NO_TORCH and not tensors:
            yield f"{path}:{line}: {me} must not import torch"
        if root == "nnunetv2" and me in NO_NNUNET:
            yield f"{path}:{line}: {me} must not import nnunetv2"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_each_module_imports_only_from_the_layers_below_it(path):
    assert list(breaches(path)) == []


def test_every_part_of_the_package_has_a_layer():
    known = set.union(*LAYERS) | {"__init__", SHIM}
    assert {unit(path) for path in FILES} <= known


def test_the_table_of_the_architecture_page_says_the_same():
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("\n## Who may import whom\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\d) \| (.+?) \| (.*?) ?\|$", section, re.MULTILINE)
    layers = [set() for _ in LAYERS]
    without = {"no torch": set(), "no nnU-Net": set()}
    for number, parts, third in rows:
        layers[int(number)] |= set(parts.split(", "))
        for words, found in without.items():
            found |= set(parts.split(", ")) if words in third else set()
    there = {unit(path) for path in FILES}  # layers also have places for parts that are yet to come
    assert layers == [names & there for names in LAYERS]
    assert without == {"no torch": NO_TORCH & there, "no nnU-Net": NO_NNUNET & there}


@pytest.mark.parametrize(
    ("file", "line", "breach"),
    [
        ("conversion/x.py", "from nnunet_kits.phantom.y import z", "conversion (layer 4) must not import phantom"),
        ("labels.py", "import nnunet_kits.images", "labels (layer 0) must not import images"),
        ("labels.py", "from nnunet_kits import images", "labels (layer 0) must not import images"),
        ("demo.py", "from nnunet_kits.cli import main", "demo must not import cli"),
        ("evaluation/x.py", "def f():\n    import torch.nn", "evaluation must not import torch"),
        ("resampling/x.py", "import torch", "resampling must not import torch"),
        ("architectures/x.py", "import nnunetv2.paths", "architectures must not import nnunetv2"),
    ],
)
def test_a_forbidden_import_is_noticed(file, line, breach, monkeypatch, tmp_path):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(line)
    (found,) = breaches(path)
    assert breach in found


def test_a_relative_import_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "images.py").write_text("from . import errors")
    with pytest.raises(AssertionError, match="imports are absolute"):
        list(breaches(tmp_path / "images.py"))
