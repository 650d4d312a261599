"""How this process holds its memory."""

import platform
import subprocess
import sys

import pytest

from nnunet_kits.machine import keep_freed_memory

FAULTS = """
import resource
import numpy as np
from nnunet_kits.machine import keep_freed_memory
def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(40 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
given_back = faults(5)
with keep_freed_memory():
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
    with pytest.raises(ZeroDivisionError), keep_freed_memory():
        1 / 0  # noqa: B018
