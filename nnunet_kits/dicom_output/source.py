"""The series that results refer to, and who made them."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.atomic import atomic_path
from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.images import Grid, Series, read_headers, series_grid

logger = logging.getLogger(__name__)

RESEARCH = "research use only"
NAME = "nnunet_kits"
VERSION = __version__


@dataclass(frozen=True)
class Author:
    """What made a label map.

    Attributes:
        model: the model's name; empty where it is not known.
        masses: whether what it labels as tumors are any masses, cysts too.
    """

    model: str = ""
    masses: bool = False

    def calls(self, structure: str) -> str:
        """What it says that a structure is: ``mass`` for ``tumor`` where it does not tell cysts apart."""
        return "mass" if self.masses and structure == "tumor" else structure

    @property
    def parameters(self) -> dict[str, str]:
        """What the algorithm's identification says beside name and version."""
        return {**({"model": self.model} if self.model else {}), "use": RESEARCH}


@dataclass(frozen=True)
class Source:
    """A series as results refer to it.

    Attributes:
        series: its slices in order.
        grid: where its voxels lie; label maps must lie there.
        headers: data sets of its files without voxels: one a slice, or a single one with all frames.
        places: the number of each slice among all frames of ``headers``, from 0.
        frames: how many there are.
    """

    series: Series
    grid: Grid
    headers: tuple[Any, ...] = field(repr=False)
    places: tuple[int, ...] = field(repr=False)
    frames: int


def need_highdicom() -> ModuleType:
    """highdicom, imported when it is first needed.

    Raises:
        KitsError: it is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise KitsError(
            "DICOM-SEG and structured reports need highdicom, which is not installed: pip install 'nnunet_kits[dicom]'."
        ) from error
    return highdicom


@contextmanager
def without_remarks() -> Iterator[None]:
    """Without what highdicom says of others' values, such as a name of one word: they are repeated as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_source(series: Series) -> Source:
    """Read the headers of a series, and see that results can refer to it.

    Where slices of one grid state several frames of reference, a warning is logged and the first slice's is taken.

    Raises:
        ImageError: slices that are no grid; what every CT image must state is not there; slices in several files of
            many frames.
        KitsError: highdicom is not installed.
    """
    need_highdicom()
    grid = series_grid(series)
    headers = read_headers(series)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        for path, header in zip(series.files, headers, strict=True):
            if not header.get(keyword):
                raise ImageError(f"{path}: has no {keyword}, so no DICOM result can refer to it. Export it again.")
    frames_of_reference = {str(header.FrameOfReferenceUID) for header in headers}
    if len(frames_of_reference) > 1:  # as some anonymisers leave it; positions have been found to be one grid
        logger.warning(
            f"series {series.index}: its slices state {len(frames_of_reference)} frames of reference; results take the "
            "first slice's."
        )
        for header in headers:
            header.FrameOfReferenceUID = headers[0].FrameOfReferenceUID
    if "NumberOfFrames" not in headers[0]:
        return Source(series, grid, tuple(headers), tuple(range(len(headers))), len(headers))
    if len(headers) > 1:
        raise ImageError(
            f"series {series.index} lies in {len(headers)} files of many frames; DICOM results refer to one such file "
            "or to files of one slice each. Export it as classic CT."
        )
    places = tuple(frame.index for frame in series.frames)
    return Source(series, grid, tuple(headers), places, int(headers[0].NumberOfFrames))


def write_referring(path: Path, source: Source, make: Callable[[], Any]) -> Any:
    """Make a data set that repeats what the source's headers state, and write it whole or not at all.

    Args:
        path: of the file.
        source: the series.
        make: the data set.

    Returns:
        The data set.

    Raises:
        ImageError: the headers lack what must be repeated.
    """
    try:
        made = make()
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise ImageError(
            f"series {source.series.index} cannot be referred to: {str(error).rstrip('.')}. Export it again."
        ) from error
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    return made


def series_number(source: Source, which: int) -> int:
    """A number for a new series beside the source's: 3 becomes 301, 302."""
    number = source.series.number
    return (int(number) if number.isdecimal() and 0 < int(number) < 10**6 else 90) * 100 + which
