"""How this process holds its memory."""

import platform
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from nnunet_kits.machine import available_memory_bytes, freed_memory_kept

FAULTS = """
import resource
import numpy as np
from nnunet_kits.machine import freed_memory_kept
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(40 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults(5)
with freed_memory_kept():
    faults(1)
    kept = faults(5)
print(given_back, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_memory_that_was_freed_is_used_again_without_asking_the_system():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < given_back / 10


def test_an_error_inside_is_passed_on():
    with pytest.raises(ZeroDivisionError), freed_memory_kept():
        1 / 0  # noqa: B018


@pytest.mark.parametrize(
    ("limit", "used"),
    [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
    ids=["version 2", "version 1"],
)
def test_free_memory_is_the_least_of_the_machines_and_the_containers(limit, used, monkeypatch, tmp_path):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4_096_000))
    assert available_memory_bytes(tmp_path) == 4_096_000
    (tmp_path / used).parent.mkdir(exist_ok=True)
    (tmp_path / used).write_text("1000000\n", encoding="utf-8")
    (tmp_path / limit).write_text("max\n", encoding="utf-8")
    assert available_memory_bytes(tmp_path) == 4_096_000
    (tmp_path / limit).write_text("1500000\n", encoding="utf-8")
    assert available_memory_bytes(tmp_path) == 500_000
    (tmp_path / used).write_text("1600000\n", encoding="utf-8")
    assert available_memory_bytes(tmp_path) == 0


def test_free_memory_that_nobody_tells_is_not_known(monkeypatch, tmp_path):
    def closed():
        raise PermissionError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", closed)
    assert available_memory_bytes(tmp_path) is None
