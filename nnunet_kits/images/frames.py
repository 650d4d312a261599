"""What a DICOM file says of the slices it holds: each one's place, its values' scale, and where its voxels stand.

A file holds one slice (classic CT) or many (enhanced multi-frame); both become frames. Headers are read without voxels.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from nnunet_kits.errors import ImageError, KitsError

VOXELS = 0x7FE00010
FLOATS = (0x7FE00008, 0x7FE00009)
"""Tags of voxels: integers, and numbers of single and double precision."""

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
"""Transfer syntaxes whose voxels stand in the file as they are; the last one is big endian."""

DEFLATED = "1.2.840.10008.1.2.1.99"
"""The transfer syntax of files that are compressed as a whole, their headers too."""

UNDEFINED = 0xFFFFFFFF
"""Length of an element that ends by a delimiter: compressed voxels."""

KEYWORDS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID"),
    *("Modality", "SeriesNumber", "SeriesDescription", "BodyPartExamined", "ImageType", "AcquisitionNumber"),
    *("TemporalPositionIdentifier", "ConvolutionKernel", "ImagePositionPatient", "ImageOrientationPatient"),
    *("PixelSpacing", "SliceThickness", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("PixelPaddingValue", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
"""All that is read of a header."""


@dataclass(frozen=True)
class Header:
    """What a file says of all its frames.

    Attributes:
        path: of the file.
        instance: SOP Instance UID.
        sop_class: SOP Class UID.
        patient: ID.
        study: Study Instance UID.
        series: Series Instance UID.
        number: of the series, as the scanner counts.
        description: of the series.
        modality: ``CT``.
        body_part: examined.
        rows: voxels down a frame.
        columns: voxels across a frame.
        samples: numbers a voxel: 1, or 3 for colours.
        bits: allocated, stored, and the highest bit's place.
        signed: whether stored numbers may be negative.
        padding: stored number of voxels that were never measured, or None.
        syntax: Transfer Syntax UID.
        offset: byte of the first voxel; None where voxels are compressed or there are none.
    """

    path: Path
    instance: str
    sop_class: str
    patient: str
    study: str
    series: str
    number: str
    description: str
    modality: str
    body_part: str
    rows: int
    columns: int
    samples: int
    bits: tuple[int, int, int]
    signed: bool
    padding: int | None
    syntax: str
    offset: int | None


@dataclass(frozen=True)
class Frame:
    """One slice.

    Attributes:
        file: that holds it.
        index: in the file, from 0.
        image_type: for example ``("ORIGINAL", "PRIMARY", "AXIAL")``.
        position_mm: of the first voxel's middle, in DICOM's axes (left, posterior, superior); None where not stated.
        orientation: directions of increasing columns and of increasing rows, in the same axes; None where not stated.
        spacing_mm: between rows, and between columns; None where not stated.
        thickness_mm: of the slice, or None.
        rescale: slope and intercept from stored numbers to HU; None where not stated.
        rescale_type: of the result: ``HU``, or nothing.
        marks: what tells two phases of one series apart: acquisition, time, kernel, the rest of the image type.
    """

    file: Header = field(repr=False)
    index: int
    image_type: tuple[str, ...]
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    thickness_mm: float | None
    rescale: tuple[float, float] | None
    rescale_type: str
    marks: tuple[str, ...]


def need_pydicom() -> ModuleType:
    """Pydicom, imported when it is first needed.

    Raises:
        KitsError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise KitsError("DICOM needs pydicom, which is not installed: pip install 'nnunet_kits[dicom]'.") from error
    return pydicom


def read_frames(path: Path) -> list[Frame]:
    """The frames of a file; one without voxels, such as a report, has one too.

    Raises:
        ImageError: a damaged or incomplete file.
    """
    pydicom = need_pydicom()
    try:
        with open(path, "rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break a rule of their type are common, and mostly harmless
            found = pydicom.dcmread(handle, force=True, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            voxels = _voxels(handle, *found.original_encoding)
            header = _header(path, found, voxels)
            frames = list(_frames(header, found))
    except Exception as error:  # pydicom raises many types on a damaged file
        raise ImageError(f"{path}: cannot be read as DICOM ({error}). Export it again.") from error
    if not (header.modality or header.sop_class or header.rows):
        raise ImageError(f"{path}: states neither what it is nor its modality. It is damaged: export it again.")
    if found.get("Rows") is not None:
        _check_complete(path, header, len(frames), voxels)
    return frames


def _voxels(handle: Any, implicit: bool | None, little: bool | None) -> tuple[int, int] | None:
    """First byte and length of the voxels, where the file stands before them; of floats no length, for pydicom."""
    head = handle.read(12)
    order: Any = "big" if little is False else "little"
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)
    if len(head) < 12 or tag not in (VOXELS, *FLOATS):
        return None
    start = handle.tell() - (4 if implicit else 0)  # explicit: two letters and two empty bytes before the length
    length = int.from_bytes(head[4:8] if implicit else head[8:], order)
    return start, length if tag == VOXELS else UNDEFINED


def _check_complete(path: Path, header: Header, frames: int, voxels: tuple[int, int] | None) -> None:
    """Refuse an image whose file ends before its voxels do."""
    if header.syntax == DEFLATED:
        return
    if voxels is None:
        raise ImageError(f"{path}: the file ends before its voxels. It is incomplete: copy or export it again.")
    start, length = voxels
    there = path.stat().st_size - start
    needed = length
    if header.offset is not None:
        needed = frames * header.rows * header.columns * header.samples * header.bits[0] // 8
    if length != UNDEFINED and there < max(needed, length):
        raise ImageError(
            f"{path}: {there} bytes of voxels, but {max(needed, length)} are announced. The file is incomplete: copy "
            "or export it again."
        )
    if length != UNDEFINED and length < needed:
        raise ImageError(
            f"{path}: {length} bytes of voxels, but {frames} x {header.rows} x {header.columns} of {header.bits[0]} "
            f"bits need {needed}. The file is damaged: export it again."
        )


def _header(path: Path, found: Any, voxels: tuple[int, int] | None) -> Header:
    def text(keyword: str) -> str:
        value = found.get(keyword)
        return "" if value is None else str(value).strip()

    def number(keyword: str, otherwise: int) -> int:
        value = found.get(keyword)
        return otherwise if value in (None, "") else int(value)

    allocated = number("BitsAllocated", 16)
    stored = number("BitsStored", allocated)
    syntax = str(found.file_meta.get("TransferSyntaxUID", "")) or _guessed_syntax(found)
    padding = found.get("PixelPaddingValue")
    return Header(
        path=path,
        instance=text("SOPInstanceUID"),
        sop_class=text("SOPClassUID"),
        patient=text("PatientID"),
        study=text("StudyInstanceUID"),
        series=text("SeriesInstanceUID"),
        number=text("SeriesNumber"),
        description=text("SeriesDescription"),
        modality=text("Modality"),
        body_part=text("BodyPartExamined"),
        rows=number("Rows", 0),
        columns=number("Columns", 0),
        samples=number("SamplesPerPixel", 1),
        bits=(allocated, stored, number("HighBit", stored - 1)),
        signed=bool(number("PixelRepresentation", 0)),
        padding=None if padding in (None, "") else int(padding),
        syntax=syntax,
        offset=voxels[0] if voxels and syntax in NATIVE and voxels[1] != UNDEFINED else None,
    )


def _guessed_syntax(found: Any) -> str:
    """Of a file without file meta information."""
    implicit, little = found.original_encoding
    return NATIVE[0] if implicit else NATIVE[1] if little else NATIVE[2]


def _frames(header: Header, found: Any) -> Iterator[Frame]:
    """One frame for each slice of a file."""
    shared = found.get("SharedFunctionalGroupsSequence") or []
    own = found.get("PerFrameFunctionalGroupsSequence") or []
    if not own:
        count = int(found.get("NumberOfFrames") or 1)
        yield from (_frame(header, index, [found]) for index in range(count))
        return
    for index, groups in enumerate(own):
        holders = [groups, *shared]
        inner = [item for holder in holders for element in holder if element.VR == "SQ" for item in element.value]
        yield _frame(header, index, [*inner, found])


def _frame(header: Header, index: int, holders: Sequence[Any]) -> Frame:
    """A frame from the data sets that speak of it, the nearest first."""

    def of(*keywords: str) -> Any:
        found = (holder.get(keyword) for keyword in keywords for holder in holders)
        return next((value for value in found if value not in (None, "")), None)

    def numbers(keyword: str, count: int) -> tuple[float, ...] | None:
        value = of(keyword)
        if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) != count:
            return None
        return tuple(float(part) for part in value)

    def words(*keywords: str) -> tuple[str, ...]:
        value = of(*keywords)
        several = [] if value is None else [value] if isinstance(value, str) or not hasattr(value, "__len__") else value
        return tuple(str(part).strip().upper() for part in several)

    kind = words("FrameType", "ImageType")
    slope, intercept = of("RescaleSlope"), of("RescaleIntercept")
    thickness = of("SliceThickness")
    return Frame(
        file=header,
        index=index,
        image_type=kind,
        position_mm=numbers("ImagePositionPatient", 3),
        orientation=numbers("ImageOrientationPatient", 6),
        spacing_mm=numbers("PixelSpacing", 2),
        thickness_mm=None if thickness is None else float(thickness),
        rescale=None if slope is None or intercept is None else (float(slope), float(intercept)),
        rescale_type=str(of("RescaleType") or "").strip().upper(),
        marks=(
            " ".join(words("FrameAcquisitionNumber", "AcquisitionNumber")),
            " ".join(words("TemporalPositionIndex", "TemporalPositionIdentifier")),
            " ".join(words("ConvolutionKernel")),
            " ".join(kind[3:]),
        ),
    )
