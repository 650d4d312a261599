"""DICOM series: the volumes in a folder, which of them is a CT to work on, and why the others are not.

A series as the scanner counts it may hold a localiser beside the slices, or several phases; it is split by image type,
orientation and, where slices lie in one place, by acquisition. What cannot be stacked honestly is refused with numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_kits.errors import ImageError
from nnunet_kits.images.dicom_files import Files, files_below, read_files
from nnunet_kits.images.frames import Frame
from nnunet_kits.images.stacks import Stack, is_placed, stack_of
from nnunet_kits.images.verdicts import SAME_DIRECTION, Use, verdict

RESAMPLE = (
    "Export it again, or resample it knowingly with --resample-tilt of segment, predict, measure and report; "
    "results of a resampled series cannot be written as DICOM, since they do not lie on its slices."
)


@dataclass(frozen=True)
class Series:
    """A stack of slices that belong together.

    Attributes:
        index: to choose by, from 1.
        uid: Series Instance UID; two stacks of one series have the same.
        study: Study Instance UID.
        patient: ID.
        number: as the scanner counts.
        description: as the scanner calls it.
        modality: ``CT``.
        body_part: examined.
        frames: its slices; in their order along the normal where they can be stacked.
        use: ``take`` by itself, ``choose`` only where a user asks for it, or ``never``.
        uneven: whether it can be read only by resampling: its slices lean, or lie at uneven distances.
        reason: why it is not simply taken; empty where it is.
    """

    index: int
    uid: str
    study: str
    patient: str
    number: str
    description: str
    modality: str
    body_part: str
    use: Use
    uneven: bool
    reason: str
    frames: tuple[Frame, ...] = field(repr=False)

    @property
    def stack(self) -> Stack | None:
        """How its slices lie; None where they do not say so."""
        stackable = all(is_placed(frame) for frame in self.frames)
        return stack_of(self.frames) if stackable else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.frames[0].file.columns, self.frames[0].file.rows, len(self.frames)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between columns, rows and, on average, slices; None where that is not stated."""
        stack = self.stack
        return None if stack is None else (*stack.spacing_mm, stack.step_mm)

    @property
    def files(self) -> tuple[Path, ...]:
        """That it is read from, each once, in the order of the slices."""
        return tuple(dict.fromkeys(frame.file.path for frame in self.frames))

    @property
    def title(self) -> str:
        """One line that tells it from others."""
        text = f"{self.index}: {self.description or 'without description'}, {len(self.frames)} slices"
        return f"{text}, UID {self.uid or 'not stated'}"

    def as_json(self) -> dict[str, Any]:
        """What is known of it, without its slices."""
        columns, rows, slices = self.shape
        return {
            "number": self.index,
            "uid": self.uid,
            "study": self.study,
            "series_number": self.number,
            "description": self.description,
            "modality": self.modality,
            "body_part": self.body_part,
            "slices": slices,
            "rows": rows,
            "columns": columns,
            "spacing_xyz_mm": None if self.spacing_mm is None else [round(edge, 6) for edge in self.spacing_mm],
            "use": self.use,
            "uneven": self.uneven,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Found:
    """What a folder or a list of files holds.

    Attributes:
        source: as a user named it.
        series: all of them, by number.
        others: how many files are no DICOM.
        damaged: DICOM file -> what is wrong with it.
    """

    source: str
    series: tuple[Series, ...]
    others: int
    damaged: dict[Path, str]


def find_series(source: Path | Sequence[Path]) -> Found:
    """The series in a folder and the folders below it, or in some files.

    Raises:
        ImageError: nothing there.
        KitsError: pydicom is not installed.
    """
    if isinstance(source, Path):
        if not source.exists():
            raise ImageError(f"{source}: no such file or folder. Name a folder of DICOM files.")
        paths: Iterable[Path] = files_below(source) if source.is_dir() else [source]
        return series_of(read_files(paths), str(source))
    return series_of(read_files(source), ", ".join(str(path) for path in source[:2]) + (", ..." * (len(source) > 2)))


def series_of(files: Files, source: str) -> Found:
    """Sort frames into series, and judge each."""
    groups: dict[tuple[str, ...], list[list[Frame]]] = {}
    for frame in files.frames:
        file = frame.file
        key = (file.study, file.series, file.sop_class, file.modality, *frame.image_type[:3])
        stacks = groups.setdefault(key, [])
        same = next((stack for stack in stacks if _same_direction(stack[0], frame)), None)
        if same is None:
            stacks.append([frame])
        else:
            same.append(frame)
    parts = [part for stacks in groups.values() for stack in stacks for part in _phases(stack)]
    parts.sort(key=_reading_order)
    series = tuple(_series(number + 1, part) for number, part in enumerate(parts))
    return Found(source, series, len(files.others), files.damaged)


def choose_series(found: Found, wanted: str | None = None, resample: bool = False) -> Series:
    """The series to work on.

    Args:
        found: what there is.
        wanted: UID or number of one; None to take the only one that is a plain CT.
        resample: whether stacks that lean or have uneven distances are taken, to be resampled.

    Raises:
        ImageError: none or several that could be taken, with the list; one that cannot be; damaged files, which might
            belong to it.
    """
    for reason in found.damaged.values():
        raise ImageError(f"{reason} {len(found.damaged)} of the DICOM files in {found.source} cannot be read.")
    listed = "; ".join(series.title + (f" ({series.reason})" if series.reason else "") for series in found.series)
    if not found.series:
        raise ImageError(f"{found.source}: holds no DICOM image; {found.others} other files. Name a folder of a CT.")
    if wanted is None:
        usable = [series for series in found.series if series.use == "take" and (resample or not series.uneven)]
        if len(usable) == 1:
            return usable[0]
        if len(usable) > 1:
            raise ImageError(
                f"{found.source}: holds {len(usable)} series that could be meant. Choose with --series NUMBER: "
                + "; ".join(series.title for series in usable)
            )
        raise ImageError(f"{found.source}: none of its series is taken by itself: {listed}. {advice(found.series)}")
    meant = [series for series in found.series if wanted in (str(series.index), series.uid)]
    if not meant:
        raise ImageError(f"{found.source}: has no series {wanted}. There are: {listed}.")
    if len(meant) > 1:
        titles = "; ".join(series.title for series in meant)
        raise ImageError(f"{found.source}: {len(meant)} stacks have the UID {wanted}. Choose by number: {titles}.")
    (series,) = meant
    if series.use == "never" or (series.uneven and not resample):
        raise ImageError(f"{found.source}: series {series.index} cannot be read: {series.reason}. {advice([series])}")
    return series


def advice(several: Sequence[Series]) -> str:
    """What a user may do where none of some series is taken by itself."""
    if sum(series.use == "take" and not series.uneven for series in several) > 1:
        return "Several could be meant: choose one with --series NUMBER."
    useful = [series for series in several if series.use != "never"]
    if any(series.uneven for series in useful):
        return RESAMPLE
    return "Choose one with --series NUMBER." if useful else "Export it again, or name another series."


def _series(number: int, frames: Sequence[Frame]) -> Series:
    first = frames[0].file
    made = Series(
        index=number,
        uid=first.series,
        study=first.study,
        patient=first.patient,
        number=first.number,
        description=first.description,
        modality=first.modality,
        body_part=first.body_part,
        use="never",
        uneven=False,
        reason="",
        frames=tuple(frames),
    )
    use, uneven, reason = verdict(made.frames)
    stack = made.stack if use != "never" else None
    return replace(made, use=use, uneven=uneven, reason=reason, frames=stack.frames if stack else made.frames)


def _same_direction(one: Frame, other: Frame) -> bool:
    if one.orientation is None or other.orientation is None:
        return one.orientation == other.orientation
    return max(abs(a - b) for a, b in zip(one.orientation, other.orientation, strict=True)) <= SAME_DIRECTION


def _phases(frames: list[Frame]) -> list[list[Frame]]:
    """Split slices of which several lie in one place, where a mark of theirs tells them apart."""
    if not all(is_placed(frame) for frame in frames):
        return [frames]
    places = np.sort(stack_of(frames).places_mm[:, 2].round(2))
    most = int(np.unique(places, return_counts=True)[1].max())
    if most == 1:
        return [frames]
    for mark in range(len(frames[0].marks)):
        parts: dict[str, list[Frame]] = {}
        for frame in frames:
            parts.setdefault(frame.marks[mark], []).append(frame)
        if 1 < len(parts) <= most and not any(stack_of(part).repeated() for part in parts.values()):
            return [parts[key] for key in sorted(parts, key=lambda text: (len(text), text))]
    return [frames]


def _reading_order(frames: Sequence[Frame]) -> tuple[Any, ...]:
    file = frames[0].file
    number = int(file.number) if file.number.lstrip("-").isdecimal() else 0
    return file.patient, file.study, number, file.series
