"""How this process holds its memory."""

import platform
import resource

import numpy as np
import pytest

from nnunet_kits.machine import keep_freed_memory

BLOCK = 40 << 20


def faults_of_using_and_freeing(times=5):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(BLOCK, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_freed_memory_is_kept_for_a_while_and_handed_back_after():
    before = faults_of_using_and_freeing()
    with keep_freed_memory():
        faults_of_using_and_freeing(1)
        assert faults_of_using_and_freeing() < before / 10
    assert faults_of_using_and_freeing() > before / 10


def test_an_error_inside_is_passed_on():
    with pytest.raises(ZeroDivisionError), keep_freed_memory():
        1 / 0  # noqa: B018
