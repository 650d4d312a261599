"""Files written whole or not at all."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_kits.atomic import atomic_path


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
