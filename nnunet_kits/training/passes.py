"""Endless passes over the same things, each once a pass, in an order drawn anew for every pass."""

import functools

import numpy as np


class Passes:
    """An endless row of things: all of them in some order, then all again in another.

    Copies of it agree, so that several processes can take turns and still see everything once a pass.

    Args:
        things: how many there are.
        seed: of the orders.
    """

    def __init__(self, things: int, seed: int) -> None:
        self.things, self.seed = things, seed

    def at(self, first: int, count: int) -> list[int]:
        """Which things, from 0, stand in the row from place ``first`` on."""
        places = [divmod(place, self.things) for place in range(first, first + count)]
        return [int(order_of(self.seed, number, self.things)[place]) for number, place in places]


@functools.lru_cache(maxsize=4)
def order_of(seed: int, number: int, things: int) -> np.ndarray:
    """The order of one pass."""
    return np.random.default_rng((seed, number)).permutation(things)
