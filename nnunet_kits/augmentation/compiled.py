"""How the loops are compiled: once a machine, kept beside the source, one thread, without Python's lock."""

from typing import Any

from numba import njit

compiled: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
"""Decorator of a loop."""

summing: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
"""Decorator of a loop whose sums may be taken in any order, so that they are taken several at once."""
