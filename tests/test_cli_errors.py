"""What the system, the shell or a typing error stops is told in one line, with an exit code that says so."""

import os
import subprocess
import sys

import pytest

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
