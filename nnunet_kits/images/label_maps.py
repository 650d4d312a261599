"""Reading label maps: the whole file, its checksum and its values verified, but only the foreground kept.

A label map is mostly background. It is decompressed in runs of planes; a run of zeros is recognised as a whole and
dropped, and of the others only the box that holds foreground is copied.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import ImageError
from nnunet_kits.geometry import NOWHERE, Box, pasted, whole_box
from nnunet_kits.images.foreign import FOREIGN, read_planes
from nnunet_kits.images.grid import Grid
from nnunet_kits.images.label_names import check_names
from nnunet_kits.images.nifti import open_nifti
from nnunet_kits.labels import REGIONS

RUN_BYTES = 1 << 19
"""How much is decompressed at a time: small enough to stay in the processor's cache."""


@dataclass(frozen=True)
class LabelMap:
    """The foreground of a label map.

    Attributes:
        array: labels (uint8) inside the box that holds all foreground, in the file's own axis order, lying in memory as
            in the file; empty where there is none.
        start: index of the box's first voxel along each axis.
        grid: of the whole file.
    """

    array: NDArray[np.uint8]
    start: tuple[int, int, int]
    grid: Grid

    @property
    def box(self) -> Box | None:
        """Where ``array`` lies in the whole map; None where there is no foreground."""
        if not self.array.size:
            return None
        (a, b, c), (i, j, k) = self.start, self.array.shape
        return (a, a + i), (b, b + j), (c, c + k)

    def within(self, box: Box) -> NDArray[np.uint8]:
        """The labels inside a box that contains :attr:`box`."""
        return self.array if box == self.box else pasted(self.array, self.box or NOWHERE, box, "F")

    def whole(self) -> NDArray[np.uint8]:
        """The labels of all voxels."""
        return self.within(whole_box(self.grid.shape))


def read_labels(path: Path, labels: Sequence[int] = REGIONS["kidney_and_mass"]) -> LabelMap:
    """Read a label map completely, verifying its checksum: NIfTI, or another format that SimpleITK reads.

    Args:
        path: the file.
        labels: foreground values that are allowed.

    Raises:
        ImageError: a value that is neither 0 nor one of the labels, or a header that names other structures; a missing,
            empty, truncated or damaged file; no image, or not three-dimensional.
    """
    if path.name.endswith(FOREIGN):
        grid, planes = read_planes(path)
        found = _Foreground(path, labels, grid)
        for number, values in enumerate(planes):
            found.add(number, values.reshape(-1))
        return found.joined()
    with open_nifti(path) as file:
        check_names(file.names, path)
        plane = file.grid.shape[0] * file.grid.shape[1]
        found = _Foreground(path, labels, file.grid)
        for start, values in file.runs(RUN_BYTES, plane, skip_zeros=True):
            found.add(start // plane, values)
    return found.joined()


def checked_labels(values: NDArray[np.generic], labels: Sequence[int], where: object) -> NDArray[np.uint8]:
    """Values as uint8, where all of them are labels.

    Args:
        values: of any shape and real dtype.
        labels: foreground values that are allowed: 1, 2, ... without a gap, as every year has them.
        where: what holds them, for the message.

    Raises:
        ImageError: a value that is neither 0 nor one of the labels.
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
    if (found is not values and not np.array_equal(found, values)) or (found.size and found.max() > max(labels)):
        foreign = values[~np.isin(values, [0, *labels])]
        known = ", ".join(f"{label:d}" for label in labels)
        raise ImageError(
            f"{where} holds the value {foreign.flat[0]:g}, but its labels are 0, {known}. "
            "Choose the year whose labels these are, or map them first."
        )
    return found


def count_labels(labels: NDArray[np.generic]) -> dict[str, int]:
    """Label value -> voxels, for the values that occur; piecewise, because bincount widens to 8 bytes a voxel."""
    flat = labels.reshape(-1, order="F")
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, flat.size, 1 << 20):
        counts += np.bincount(flat[start : start + (1 << 20)], minlength=256)
    return {str(value): int(counts[value]) for value in np.flatnonzero(counts)}


class _Foreground:
    """Collects the planes of a label map that hold foreground, each run of them cut to the rows and columns that do.

    Here the axes are the file's in reverse, so that what lies together in the file does so in memory.
    """

    def __init__(self, path: Path, labels: Sequence[int], grid: Grid) -> None:
        self.path, self.labels, self.grid = path, labels, grid
        self.pieces: list[tuple[tuple[int, int, int], NDArray[np.uint8]]] = []

    def add(self, index: int, values: NDArray[np.generic]) -> None:
        """Take the values of a run of planes, the first one being number ``index``."""
        size, (columns_there, rows_there, _) = values.dtype.itemsize, self.grid.shape
        bits = values.view(f"u{size}") if size <= 8 else values != 0
        planes = bits.reshape(-1, rows_there, columns_there)
        footprint = planes[0] if len(planes) == 1 else np.bitwise_or.reduce(planes, axis=0)
        rows = np.flatnonzero(footprint.max(axis=1))
        if not len(rows):
            return
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(np.bitwise_or.reduce(footprint[top:bottom], axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        piece = values.reshape(planes.shape)[:, top:bottom, left:right].copy()
        self.pieces.append(((index, top, left), checked_labels(piece, self.labels, self.path)))

    def joined(self) -> LabelMap:
        """All pieces in one box."""
        if not self.pieces:
            return LabelMap(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), self.grid)
        starts = np.array([start for start, _ in self.pieces])
        stops = starts + [piece.shape for _, piece in self.pieces]
        first, last = starts.min(axis=0), stops.max(axis=0)
        whole = np.zeros(last - first, np.uint8)
        for start, piece in self.pieces:
            at = zip(start - first, piece.shape, strict=True)
            whole[tuple(slice(begin, begin + size) for begin, size in at)] = piece
        planes = np.flatnonzero(whole.any(axis=(1, 2)))
        if not len(planes):  # nothing but -0.0
            return LabelMap(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), self.grid)
        begin, end = int(planes[0]), int(planes[-1]) + 1
        return LabelMap(whole[begin:end].T, (int(first[2]), int(first[1]), int(first[0]) + begin), self.grid)
