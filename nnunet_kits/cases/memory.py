"""How many cases are worked on at once. What one needs is reckoned by the step that works on it."""

from collections.abc import Mapping

from nnunet_kits.errors import KitsError
from nnunet_kits.machine import available_memory_bytes, cpu_count

SHARE = 0.9
"""Part of the free memory that is given to workers."""


def fitting_workers(cases: int, bytes_each: int = 0, wanted: int | None = None, share: float = SHARE) -> int:
    """Processes for some cases: at least 1, no more than there are cases, and no more than fit into free memory.

    Args:
        cases: how many there are.
        bytes_each: what the largest of them needs; 0 where memory does not matter.
        wanted: at most so many; None for one a CPU.
        share: of the free memory that may be used.
    """
    free = available_memory_bytes() if bytes_each else None
    fitting = cases if free is None else int(share * free / bytes_each)
    return max(1, min(cpu_count() if wanted is None else wanted, cases, fitting))


def check_memory(needs: Mapping[str, int], what: str, advice: str, error: type[KitsError]) -> None:
    """Refuse cases of which not even one fits into free memory.

    Args:
        needs: case -> bytes.
        what: is done to them, for example ``predicting``.
        advice: what to do, a sentence or more.
        error: its type.

    Raises:
        KitsError: naming the largest case, what it needs and what is free.
    """
    largest = max(needs, key=needs.__getitem__)
    free = available_memory_bytes()
    if free is not None and needs[largest] > free:
        raise error(
            f"{largest}: {what} it needs about {needs[largest] / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB "
            f"are free. {advice}"
        )
