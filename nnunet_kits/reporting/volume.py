"""A case's voxels inside the page, for the viewer: cropped to what is labelled, HU rounded, the rest kept exactly.

Rounded HU and label maps are packed without loss. So that a thin-sliced CT stays within some megabytes, HU are rounded
more coarsely, and then slices are left out, until the case fits; what was left out is stated in the page.
"""

import base64
import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits import geometry
from nnunet_kits.geometry import Box
from nnunet_kits.reporting.overlays import Case, body_box, labelled, point_of_interest

MARGIN_MM = 30.0
"""What is kept around the labelled region."""

LOW_HU, SOFT_HU, HIGH_HU = (-1050, 30), (-150, 250), (1500, 50)
"""Lowest value with the rounding below soft tissue; soft tissue; highest value with the rounding above it."""

ROUNDINGS_HU = (2, 4, 8)
"""Of soft tissue, the finest first."""

SAMPLED_SLICES = 10
"""So many slices tell how large all of them will be."""


@dataclass(frozen=True)
class Volume:
    """A part of a case as it stands in the page.

    Attributes:
        box: of the canonical volume (see :mod:`nnunet_kits.geometry`).
        whole_zyx: voxels of that volume.
        at_zyx: voxel of it that the viewer begins at.
        every: of the axial slices in the box, each one (1), each second (2) ... is kept, beginning with the first.
        spacing_zyx_mm: distance of the voxels that are kept.
        rounding_hu: of soft tissue.
        levels_hu: HU of each value, 256 at most.
        has_reference: whether the labels hold those of a reference.
        hu: packed values, base64: of each voxel's value the difference to what its neighbours let expect.
        labels: packed, base64: the predicted label, and 4 times that of the reference.
    """

    box: Box
    whole_zyx: tuple[int, int, int]
    at_zyx: tuple[int, int, int]
    every: int
    spacing_zyx_mm: tuple[float, float, float]
    rounding_hu: int
    levels_hu: list[int]
    has_reference: bool
    hu: str
    labels: str

    @property
    def about(self) -> dict[str, Any]:
        """What the viewer must know to unpack it."""
        start = [first for first, _ in self.box]
        shape = [stop - first for first, stop in self.box]
        return {
            "shape": [-(-shape[0] // self.every), *shape[1:]],
            "start": start,
            "whole": self.whole_zyx,
            "at": self.at_zyx,
            "every": self.every,
            "spacing": self.spacing_zyx_mm,
            "levels": self.levels_hu,
            "reference": self.has_reference,
        }

    @property
    def left_out(self) -> str:
        """What of the CT the viewer does not have, in words."""
        (z, y, x), (depth, height, width) = self.box, self.whole_zyx
        slices = f"slices {z[0] + 1} to {z[1]} of {depth}"
        if self.every > 1:
            slices += f", one of {self.every}"
        return (
            f"The viewer holds {slices}, rows {y[0] + 1} to {y[1]} of {height}, columns {x[0] + 1} to {x[1]} of "
            f"{width}. "
            f"HU are rounded to {self.rounding_hu} between {SOFT_HU[0]} and {SOFT_HU[1]}, to {LOW_HU[1]} below and "
            f"{HIGH_HU[1]} above, and end at {LOW_HU[0]} and {HIGH_HU[0]}."
        )


def embed(case: Case, megabytes: float) -> Volume:
    """A case for the page, in as many megabytes of text at most, unless a single slice needs more.

    Args:
        case: CT and label maps.
        megabytes: 10^6 characters.
    """
    whole = geometry.whole_box(case.ct.shape)
    found = geometry.bounding_box(labelled(case))
    box = geometry.grow_box(found, MARGIN_MM, case.spacing_zyx_mm, whole) if found else body_box(case)
    ct = geometry.crop(case.ct, box)
    every, rounding = next(fit for fit in _ladder(len(ct)) if _expected_characters(ct, *fit) <= megabytes * 1e6)
    z, y, x = case.spacing_zyx_mm
    labels = geometry.crop(case.prediction, box)[::every].astype(np.uint8)
    if case.reference is not None:
        labels |= geometry.crop(case.reference, box)[::every].astype(np.uint8) << np.uint8(2)
    depth, height, width = case.ct.shape
    return Volume(
        box,
        (depth, height, width),
        point_of_interest(case),
        every,
        (z * every, y, x),
        rounding,
        levels(rounding).tolist(),
        case.reference is not None,
        _text(_packed(ct[::every], rounding)),
        _text(zlib.compress(labels.tobytes(), 9)),
    )


def levels(rounding_hu: int) -> NDArray[np.int64]:
    """The HU that are told apart, ascending, 256 at most."""
    (lowest, below), (low, high), (highest, above) = LOW_HU, SOFT_HU, HIGH_HU
    parts = np.arange(lowest, low, below), np.arange(low, high, rounding_hu), np.arange(high, highest + 1, above)
    return np.concatenate(parts)


def rounded(ct: NDArray[Any], rounding_hu: int) -> NDArray[np.uint8]:
    """Which of the :func:`levels` is nearest to each voxel's HU; NaN is the lowest."""
    known = levels(rounding_hu)
    lowest, highest = int(known[0]), int(known[-1])
    nearest = np.searchsorted((known[1:] + known[:-1]) / 2, np.arange(lowest, highest + 1)).astype(np.uint8)
    whole = np.rint(np.clip(np.nan_to_num(ct, nan=lowest), lowest, highest)).astype(np.intp)
    found: NDArray[np.uint8] = nearest[whole - lowest]
    return found


def differences(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of each value of a plane, the difference (modulo 256) to what its neighbours above and to the left let expect.

    Args:
        plane: (rows, columns). What lies outside is 0.

    Source: the median predictor of LOCO-I, Weinberger et al., IEEE Transactions on Image Processing 2000;9:1309.
    """
    framed = np.pad(plane, ((1, 0), (1, 0))).astype(np.int16)
    left, above, corner = framed[1:, :-1], framed[:-1, 1:], framed[:-1, :-1]
    low, high = np.minimum(left, above), np.maximum(left, above)
    expected = np.where(corner >= high, low, np.where(corner <= low, high, left + above - corner))
    return (framed[1:, 1:] - expected).astype(np.uint8)


def _ladder(slices: int) -> Iterator[tuple[int, int]]:
    """(every, rounding) from the finest on."""
    return itertools.product(range(1, slices + 1), ROUNDINGS_HU)


def _expected_characters(ct: NDArray[Any], every: int, rounding: int) -> float:
    """Characters of a packed CT, from some of its slices; none for a single slice, which cannot be made smaller."""
    kept = ct[::every]
    if len(kept) == 1:
        return 0.0
    some = kept[:: -(-len(kept) // SAMPLED_SLICES)]
    return len(_packed(some, rounding)) / len(some) * len(kept) * 4 / 3


def _packed(ct: NDArray[Any], rounding: int) -> bytes:
    """Slices as differences of rounded values, compressed one after the other."""
    packer = zlib.compressobj(9, strategy=zlib.Z_FILTERED)
    parts = [packer.compress(differences(rounded(plane, rounding)).tobytes()) for plane in ct]
    return b"".join([*parts, packer.flush()])


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
