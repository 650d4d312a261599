import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kits_trees import case_folder, make_tree

from nnunet_kits.cli.main import main
from nnunet_kits.releases import RELEASES

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    return tmp_path / "raw"


def test_convert_ends_with_what_was_made_and_the_next_commands(tmp_path, raw, capsys):
    tree = make_tree(tmp_path / "kits", test=(589,))
    assert main(["convert", "--year", "23", str(tree), "-d", "7", "--name", "KiTS2023Small", "--folds", "3"]) == 0
    out = capsys.readouterr().out.splitlines()
    made = f"{raw}/Dataset007_KiTS2023Small: 3 training and 1 test cases, 4 of them converted now, 0 before."
    assert out[0] == made
    assert out[1] == "Next:"
    assert out[2].startswith("  nnUNetv2_extract_fingerprint -d 7 -np ")
    assert out[3] == "  nnunet_kits plan -d 7 --preset KiTSCascadePlans   # others: nnunet_kits plan --list"
    assert out[4:] == ["  nnunet_kits preprocess -d 7 -p KiTSCascadePlans"]


@pytest.mark.parametrize("words", [["68"], ["case_00068"], ["known-bad"], ["known-bad", "case_00068", "133"]])
def test_exclude_takes_numbers_names_and_known_bad(tmp_path, raw, capsys, words):
    tree = make_tree(tmp_path / "kits", "19", training=(67, 68))
    assert main(["convert", "--year", "19", str(tree), "--exclude", *words]) == 0
    assert "1 training and 0 test cases" in capsys.readouterr().out


def test_a_known_bad_case_is_noted(tmp_path, raw, capsys):
    tree = make_tree(tmp_path / "kits", "19", training=(67, 68))
    assert main(["convert", "--year", "19", str(tree)]) == 0
    assert "note: case_00068 is kept, though nnU-Net's authors left it out" in capsys.readouterr().out


def test_exclude_refuses_what_is_no_case(tmp_path, raw, capsys):
    assert main(["convert", "--year", "19", str(tmp_path), "--exclude", "sixty"]) == 2
    assert "--exclude sixty: not a case. Write 68, case_00068 or known-bad." in capsys.readouterr().err


def test_without_nnunet_raw_the_error_says_how_to_set_it(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    assert main(["convert", "--year", "23", str(make_tree(tmp_path / "kits"))]) == 2
    assert "nnUNet_raw is not set. Run: eval" in capsys.readouterr().err


def test_folds_that_differ_from_the_preprocessed_ones_are_noted(tmp_path, raw, capsys):
    tree = make_tree(tmp_path / "kits")
    old = tmp_path / "preprocessed" / "Dataset220_KiTS2023" / "splits_final.json"
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps([{"train": [], "val": []}]))
    assert main(["convert", "--year", "23", str(tree)]) == 0
    assert f"note: {old} has other folds, and nnU-Net's planners stop at that." in capsys.readouterr().out


@pytest.mark.parametrize("year", RELEASES)
def test_the_thin_script_of_a_year_converts_it_from_any_folder(tmp_path, raw, year):
    release = RELEASES[year]
    tree = make_tree(tmp_path / "kits", year)
    script = REPOSITORY / "dataset_conversion" / f"Dataset{release.dataset_id:03d}_{release.dataset_name}.py"
    command = [sys.executable, str(script), str(tree)]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=True)
    assert f"Dataset{release.dataset_id:03d}_{release.dataset_name}: 3 training" in done.stdout
    (case_folder(tree, 1, year) / "imaging.nii.gz").unlink()
    failed = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "case_00001" in failed.stderr
    helped = subprocess.run([*command, "-h"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--skip-bad" in helped.stdout


def test_conversion_needs_neither_torch_nor_nnunetv2(tmp_path, raw):
    tree = make_tree(tmp_path / "kits")
    code = (
        "import sys; from nnunet_kits.cli.main import main; "
        f"assert main(['convert', '--year', '23', {str(tree)!r}]) == 0; "
        "assert not {'torch', 'nnunetv2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), capture_output=True)
