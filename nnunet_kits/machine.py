"""What this machine has free, under a container's limits too, and how this process holds its memory."""

import contextlib
import ctypes
import functools
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
"""Settings of glibc's mallopt, from its malloc.h."""

MMAP_MAX = 65536
"""Blocks that glibc asks of the system by themselves, at most, if nobody says otherwise."""

LARGEST_MMAP_THRESHOLD = 32 << 20
"""Up to this size glibc comes to hold blocks itself; larger ones always go back to the system at once."""


def cpu_count() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_memory_bytes(groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Free memory of the machine, on any system, or what a Linux container's limit leaves of it; None where none tells.

    Args:
        groups: where Linux tells the limits of control groups, of version 2 or 1.
    """
    import psutil  # on use: help needs no memory

    found = []
    with contextlib.suppress(OSError, RuntimeError, NotImplementedError):  # no /proc, no such system
        found.append(int(psutil.virtual_memory().available))
    for limit_file, used_file in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no limit
            limit, used = (int((groups / name).read_text(encoding="utf-8")) for name in (limit_file, used_file))
            found.append(limit - used)
    return max(0, min(found)) if found else None


@functools.cache
def thread_pools() -> "ThreadpoolController":
    """The libraries of this process that have threads, looked for once: that takes longer than many a patch."""
    from threadpoolctl import ThreadpoolController  # on use: help needs none

    return ThreadpoolController()


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def keep_freed_memory() -> None:
    """Keep freed memory in this process from now on, instead of handing it back and fetching it again.

    A network on a CPU allocates and frees the same large blocks in every layer, a loader in every patch. glibc hands
    each back to the system, which must then find and clear every page anew. Does nothing where the C library is not
    glibc.
    """
    if (library := _glibc()) is not None:
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        library.mallopt(M_TOP_PAD, 64 << 20)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """:func:`keep_freed_memory` for a while; afterwards what is free is handed back as far as glibc can."""
    keep_freed_memory()
    try:
        yield
    finally:
        if (library := _glibc()) is not None:
            library.mallopt(M_MMAP_MAX, MMAP_MAX)
            library.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
            library.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
            library.mallopt(M_TOP_PAD, 128 << 10)
            library.malloc_trim(0)


def visible_gpus() -> list[str]:
    """The graphics cards that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them; torch is not asked."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        return [name for name in names[: names.index("-1") if "-1" in names else None] if name]
    try:
        told = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, encoding="utf-8", errors="replace", check=False
        ).stdout
    except OSError:
        return []
    return [str(number) for number, _ in enumerate(re.findall(r"^GPU \d+:", told, re.MULTILINE))]
