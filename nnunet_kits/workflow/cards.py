"""Which graphics cards a step on this machine works on: each card is lent to one step at a time."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nnunet_kits.workflow import locks
from nnunet_kits.workflow.folder import RunFolder

CARDS = "NNUNET_KITS_CARDS"
"""Variable with the cards that a run on this machine may lend; a cluster gives each job its own."""

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def lent(folder: RunFolder, count: int) -> Iterator[dict[str, str]]:
    """Take cards for a step, and wait where none is free.

    Args:
        folder: of the run.
        count: how many.

    Yields:
        The variable that shows the step these cards alone; nothing where the step needs none, or a cluster gives them.
    """
    cards = [card for card in os.environ.get(CARDS, "").split(",") if card]
    if not count or len(cards) < count:
        yield {}
        return
    while True:
        with ExitStack() as stack:
            taken: list[str] = []
            for card in cards:
                lock = locks.take(folder.path / "locks" / f"card_{card}") if len(taken) < count else None
                if lock is not None:
                    stack.enter_context(lock)
                    taken.append(card)
            if len(taken) == count:
                yield {VISIBLE: ",".join(taken)}
                return
        time.sleep(1)
