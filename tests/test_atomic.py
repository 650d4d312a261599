"""Files written whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from raw_datasets import save

from nnunet_kits.atomic import atomic_path
from nnunet_kits.cli.main import main


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(target: Path) -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_with_the_file_that_found_no_room(tmp_path):
    with pytest.raises(OSError, match="No space left") as raised, atomic_path(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "a.txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_or_a_device_is_not_replaced_by_a_file(tmp_path, capsys):
    pipe = tmp_path / "pipe.html"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="Is a device or a pipe") as raised, atomic_path(pipe) as temporary:
        temporary.write_text("x")
    assert raised.value.filename == str(pipe)
    assert list(tmp_path.iterdir()) == [pipe]
    assert pipe.is_fifo()
    save(tmp_path / "labels" / "case_1.nii.gz", np.ones((4, 4, 4), np.uint8), np.eye(4))
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "measures.csv")
    assert main(["measure", str(tmp_path / "labels"), "-o", str(tmp_path / "out")]) == 2
    assert "measures.csv: Is a device or a pipe, not a file" in capsys.readouterr().err


def test_what_a_killed_process_left_of_a_file_goes_when_the_file_is_written_and_a_running_ones_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as running:
        killed = subprocess.Popen([sys.executable, "-c", ""])
        killed.wait()
        target = tmp_path / "case[1].nii.gz"
        names = [f".{target.name}.{pid}.part" for pid in (killed.pid, running.pid)]
        other = f".case2.nii.gz.{killed.pid}.part"
        for name in (*names, other):
            (tmp_path / name).write_bytes(b"half")
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"whole")
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([names[1], other, target.name])
        running.communicate()
