"""What other systems do otherwise: encodings, links, names that differ in case alone, how processes are started."""

import ast
import os
from pathlib import Path

import pytest
from kits_trees import labels_of, save

import nnunet_kits
from nnunet_kits import atomic
from nnunet_kits.atomic import link_folder
from nnunet_kits.cli.main import main

PACKAGE = Path(nnunet_kits.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
FILES = [*PACKAGE.rglob("*.py"), *(ROOT / "dataset_conversion").rglob("*.py"), ROOT / "setup.py"]
TEXT = {"read_text": 0, "write_text": 1}
"""Methods of paths that read or write text, and how many arguments stand before the encoding."""


def without_encoding(tree):
    """Calls that read or write text, of a file or a process, and leave the encoding to the system."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        of_module = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name)
        if "encoding" in given:
            continue
        if name in TEXT and isinstance(call.func, ast.Attribute):
            if len(call.args) <= TEXT[name]:
                yield call
        elif name == "open" and not (of_module and call.func.value.id in ("os", "blosc2")):
            modes = [value for value in (*call.args, given.get("mode")) if isinstance(value, ast.Constant)]
            if not any(isinstance(mode.value, str) and "b" in mode.value for mode in modes) and not _of_a_zip(call):
                yield call
        elif "text" in given or "universal_newlines" in given:
            yield call


def _of_a_zip(call):
    """``opened.open(entry)`` of a zip gives bytes, whatever its mode."""
    return isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in ("opened", "file", "archive")


def test_no_text_is_read_or_written_in_the_encoding_of_the_system():
    found = [
        f"{file}:{call.lineno}: {ast.unparse(call)[:80]}"
        for file in FILES
        for call in without_encoding(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("path.read_text()", True),
        ("path.read_text('utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, encoding='utf-8')", False),
        ("write_text(path, text)", False),
        ("open(path)", True),
        ("path.open('a')", True),
        ("open(path, 'rb')", False),
        ("path.open(mode='wb')", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
    ],
)
def test_the_walk_over_the_package_sees_what_it_looks_for(line, caught):
    assert bool(list(without_encoding(ast.parse(line)))) == caught


def refuse(*_, **__):
    raise OSError(1314, "A required privilege is not held by the client")


@pytest.mark.parametrize("hard_links", [True, False])
def test_where_there_are_no_links_a_folder_is_hard_linked_or_copied(hard_links, monkeypatch, tmp_path):
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "imaging.nii.gz").write_bytes(b"voxels")
    monkeypatch.setattr(atomic.os, "symlink", refuse)
    if not hard_links:
        monkeypatch.setattr(atomic.os, "link", refuse)
    link_folder(tmp_path / "case", tmp_path / "other")
    assert not (tmp_path / "other").is_symlink()
    assert (tmp_path / "other" / "imaging.nii.gz").read_bytes() == b"voxels"
    assert os.stat(tmp_path / "case" / "imaging.nii.gz").st_nlink == (2 if hard_links else 1)
    assert not list(tmp_path.glob(".*"))


def test_converting_by_links_where_there_are_none_is_one_line(monkeypatch, tmp_path, capsys):
    from kits_trees import make_tree

    make_tree(tmp_path / "kits", training=(0,))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    (tmp_path / "raw").mkdir()
    monkeypatch.setattr("pathlib.os.symlink", refuse)
    assert main(["convert", "--year", "23", str(tmp_path / "kits"), "--mode", "symlink", "-np", "1"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "case_00000: " in error
    assert "Use --mode compact, copy or hardlink" in error


def test_cases_whose_names_differ_in_case_alone_are_refused(tmp_path, capsys):
    for name in ("Case_1", "case_1"):
        save(tmp_path / "labels" / f"{name}.nii.gz", labels_of(0, "23"))
    if len(list((tmp_path / "labels").iterdir())) == 1:
        pytest.skip("this file system holds one of them only")
    assert main(["measure", str(tmp_path / "labels"), "-o", str(tmp_path / "out")]) == 2
    assert "differ in upper and lower case alone" in capsys.readouterr().err
