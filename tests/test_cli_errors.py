"""What the system, the shell or a typing error stops is told in one line, with an exit code that says so."""

import os
import subprocess
import sys

import nibabel as nib
import pytest
from kits_trees import IPL, labels_of, save

from nnunet_kits.cli.main import main

TREE = ("--year", "23", "--cases", "2", "--size", "tiny")


def test_what_the_system_refuses_is_one_line_with_the_file_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["phantom", str(tmp_path / "file" / "out"), *TREE]) == 2
    error = capsys.readouterr().err
    assert error == f"nnunet_kits: error: {tmp_path}/file/out: Not a directory. What was finished is kept.\n"


def test_a_full_disk_is_named_though_the_system_names_no_file(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nnunet_kits.phantom.layout.write_volume", full)
    assert main(["phantom", str(tmp_path / "out"), *TREE]) == 2
    assert capsys.readouterr().err.endswith("error: No space left on device. What was finished is kept.\n")


def test_a_reader_of_the_output_that_ends_early_does_not_make_a_success_of_half_the_work(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "phantom", str(tmp_path / "out"), *TREE]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300)
    os.close(writing)
    assert done.returncode == 141
    assert done.stderr.splitlines()[-1] == (
        "nnunet_kits: nobody reads the output any more; run the same command again to go on."
    )
    assert "Traceback" not in done.stderr


def test_where_nobody_reads_the_errors_either_the_exit_code_still_says_so(tmp_path):
    for words, code in ((["phantom", str(tmp_path / "out"), *TREE], 141), (["measure", str(tmp_path / "none")], 2)):
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, "-m", "nnunet_kits.cli.main", *words]
        done = subprocess.run(command, stdout=writing, stderr=writing, timeout=300)
        os.close(writing)
        assert done.returncode == code


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_an_output_that_takes_nothing_and_letters_that_its_encoding_lacks_are_told_in_one_line(tmp_path):
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "phantom"]
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, str(tmp_path / "out"), *TREE], stdout=full, stderr=subprocess.PIPE, text=True, timeout=300
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "nnunet_kits: error: standard output: No space left on device. What was finished is kept."
    )
    assert "Exception" not in done.stderr
    done = subprocess.run([*command, str(tmp_path / "größer"), *TREE], capture_output=True, env=ascii_only, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "größer".encode() in done.stdout  # its bytes, as the system has them


@pytest.mark.parametrize("verb", ["measure", "report", "postprocess", "evaluate", "restore"])
@pytest.mark.parametrize("given", ["0", "-3", "1.5", "many"])
def test_processes_are_one_or_more(verb, given, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([verb, "-np", given])
    assert f"argument -np: {given!r} is not a whole number of 1 or more" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["nan", "inf", "-1", "small"])
def test_a_smallest_volume_is_a_number_of_0_or_more(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["measure", "labels", "-o", "out", f"--min-volume-ml={given}"])
    assert f"argument --min-volume-ml: {given!r} is not a number of 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["-1", "nan", "2.5"])
def test_resamplings_are_none_or_more(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "pred", "ref", "--year", "23", f"--bootstrap={given}"])
    assert f"argument --bootstrap: {given!r} is not a whole number of 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", [["series"], ["measure", "-o", "out"], ["predict", "-i", "cts", "-o", "out", "--fine"]]
)
def test_links_that_lead_round_are_one_line(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.symlink("self", "self")
    assert main([*verb, "self"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nnunet_kits: error: ")
    assert "self" in error


def test_a_link_to_nothing_among_label_maps_is_told_by_name_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "labels" / "case_00000.nii.gz", labels_of(0, "23"))
    os.symlink("nowhere", "labels/case_00001.nii.gz")
    assert main(["measure", "labels", "-o", "out"]) == 2
    assert "case_00001: labels/case_00001.nii.gz: no such file." in capsys.readouterr().err
    assert "case_00000" in (tmp_path / "out" / "measures.csv").read_text(encoding="utf-8")


def test_nibabel_says_nothing_beside_our_own_line(tmp_path):
    nib.save(nib.Nifti2Image(labels_of(0, "23"), IPL), tmp_path / "two.nii")
    save(tmp_path / "one.nii", labels_of(0, "23"))
    raw = bytearray((tmp_path / "one.nii").read_bytes())
    raw[254:256] = b"\x09\0"  # a code of the sform that there is not
    (tmp_path / "one.nii").write_bytes(raw)
    command = [sys.executable, "-m", "nnunet_kits.cli.main", "measure", str(tmp_path), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    one, two = done.stderr.splitlines()
    assert "one.nii: neither sform nor qform is set" in one
    assert "two.nii: not a NIfTI image (it is NIfTI-2; save it as NIfTI-1)" in two


@pytest.mark.parametrize("given", ["nan", "0", "-8", "inf", "much"])
def test_a_gpus_memory_is_a_number_above_0(given, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "-d", "220", "--preset", "KiTSCascadePlans", f"--gpu-memory-gb={given}"])
    assert f"argument --gpu-memory-gb: {given!r} is not a number above 0" in capsys.readouterr().err
