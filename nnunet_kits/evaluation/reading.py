"""Reading label maps for scoring: the whole file, its checksum verified, but only the foreground kept.

A label map is mostly background. It is decompressed in runs of planes; a run of zeros is recognised as a whole and
dropped, and of the others only the box that holds foreground is copied.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from isal import igzip, isal_zlib
from numpy.typing import NDArray

from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.header import HEADER_BYTES, Grid, Header, parse_header

RUN_BYTES = 1 << 19
"""How much is decompressed at a time: small enough to stay in the processor's cache."""

UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, isal_zlib.error)  # type: ignore[assignment]

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Half-open intervals along the axes of a :class:`LabelMap`'s array."""


@dataclass(frozen=True)
class LabelMap:
    """The foreground of a label map.

    The axes are the file's in reverse, as SimpleITK has them, so that the array lies in memory as in the file. No
    score depends on the order of the axes.

    Attributes:
        array: labels (uint8) inside the smallest box that holds all foreground; empty where there is none.
        start: index of the box's first voxel along each axis of ``array``.
        grid: of the whole file, in the file's own axis order.
    """

    array: NDArray[np.uint8]
    start: tuple[int, int, int]
    grid: Grid

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Length of a voxel edge along the axes of ``array``."""
        first, second, third = self.grid.spacing_mm
        return third, second, first

    @property
    def box(self) -> Box | None:
        """Where ``array`` lies in the whole map; None where there is no foreground."""
        if not self.array.size:
            return None
        (a, b, c), (k, j, i) = self.start, self.array.shape
        return (a, a + k), (b, b + j), (c, c + i)

    def within(self, box: Box) -> NDArray[np.uint8]:
        """The labels inside a box that contains :attr:`box`."""
        if box == self.box:
            return self.array
        whole = np.zeros([stop - start for start, stop in box], np.uint8)
        inside = zip(self.start, self.array.shape, box, strict=True)
        whole[tuple(slice(at - start, at - start + size) for at, size, (start, _) in inside)] = self.array
        return whole


def checked_labels(values: NDArray[np.generic], labels: Sequence[int]) -> NDArray[np.uint8]:
    """Stored values as uint8, where all of them are labels.

    Args:
        values: of any shape and real dtype.
        labels: foreground values that are allowed: 1, 2, ... without a gap, as every year has them.

    Raises:
        EvaluationError: a value that is neither 0 nor one of the labels.
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
    if (found is not values and not np.array_equal(found, values)) or (found.size and found.max() > max(labels)):
        foreign = values[~np.isin(values, [0, *labels])]
        known = ", ".join(f"{label:d}" for label in labels)
        raise EvaluationError(
            f"holds the value {foreign.flat[0]:g}, but its labels are 0, {known}. "
            "Choose the year whose labels these are, or map them first."
        )
    return found


def read_labels(path: Path, labels: Sequence[int] = (1, 2, 3)) -> LabelMap:
    """Read a ``.nii`` or ``.nii.gz`` label map completely, verifying the gzip checksum.

    Args:
        path: the file.
        labels: foreground values that are allowed.

    Raises:
        EvaluationError: a value that is neither 0 nor one of the labels.
        ImageError: missing, empty, truncated or damaged file, not a NIfTI image, or not three-dimensional.
    """
    try:
        with _decompressed(path) as stream:
            header = parse_header(stream.read(HEADER_BYTES))
            if header is not None:
                return _read_foreground(path, stream, header, labels)
    except UNREADABLE:
        pass  # the general reader says what is wrong with the file
    from nnunet_kits.images import read_volume

    volume = read_volume(path)
    x, y, z = volume.shape
    found = _Foreground(labels, (x, y, z))
    with _named(path):
        found.add(0, np.ascontiguousarray(volume.array.T).reshape(-1))
    return found.joined(Grid((x, y, z), volume.affine))


def _read_foreground(path: Path, stream: BufferedIOBase, header: Header, labels: Sequence[int]) -> LabelMap:
    """Foreground of the voxels that follow; the rest of the file is read too, for its checksum."""
    shape = header.grid.shape
    stream.read(header.offset - HEADER_BYTES)
    plane_bytes = shape[0] * shape[1] * header.dtype.itemsize
    planes = max(1, RUN_BYTES // plane_bytes)
    background = bytes(planes * plane_bytes)
    found = _Foreground(labels, shape)
    for index in range(0, shape[2], planes):
        wanted = min(planes, shape[2] - index) * plane_bytes
        run = stream.read(wanted)
        if len(run) < wanted:
            raise EOFError
        if run != background[:wanted]:
            with _named(path):
                found.add(index, np.frombuffer(run, header.dtype))
    while stream.read(RUN_BYTES):
        pass
    return found.joined(header.grid)


class _Foreground:
    """Collects the planes of a label map that hold foreground, each run of them cut to the rows and columns that do."""

    def __init__(self, labels: Sequence[int], shape: tuple[int, int, int]) -> None:
        self.labels = labels
        self.columns, self.rows = shape[0], shape[1]
        self.pieces: list[tuple[tuple[int, int, int], NDArray[np.uint8]]] = []

    def add(self, index: int, values: NDArray[np.generic]) -> None:
        """Take the stored values of a run of planes, the first one being number ``index``."""
        planes = values.view(f"u{values.dtype.itemsize}").reshape(-1, self.rows, self.columns)
        footprint = planes[0] if len(planes) == 1 else np.bitwise_or.reduce(planes, axis=0)
        rows = np.flatnonzero(footprint.max(axis=1))
        if not len(rows):
            return
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(np.bitwise_or.reduce(footprint[top:bottom], axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        piece = planes[:, top:bottom, left:right].copy().view(values.dtype)
        self.pieces.append(((index, top, left), checked_labels(piece, self.labels)))

    def joined(self, grid: Grid) -> LabelMap:
        """All pieces in one box."""
        if not self.pieces:
            return LabelMap(np.zeros((0, 0, 0), np.uint8), (0, 0, 0), grid)
        starts = np.array([start for start, _ in self.pieces])
        stops = starts + [piece.shape for _, piece in self.pieces]
        first, last = starts.min(axis=0), stops.max(axis=0)
        whole = np.zeros(last - first, np.uint8)
        for start, piece in self.pieces:
            at = zip(start - first, piece.shape, strict=True)
            whole[tuple(slice(begin, begin + size) for begin, size in at)] = piece
        planes = np.flatnonzero(whole.any(axis=(1, 2)))
        begin, end = int(planes[0]), int(planes[-1]) + 1
        return LabelMap(whole[begin:end], (int(first[0]) + begin, int(first[1]), int(first[2])), grid)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its labels."""
    try:
        yield
    except EvaluationError as error:
        raise EvaluationError(f"{path} {error}") from error


@contextmanager
def _decompressed(path: Path) -> Iterator[BufferedIOBase]:
    """The file's content as a stream."""
    with open(path, "rb") as handle:
        if path.name.endswith(".gz"):
            with igzip.IGzipFile(fileobj=handle, mode="rb") as stream:
                yield stream
        else:
            yield handle
