"""Label maps as an RT structure set: each structure or lesion as closed outlines on the source's own slices."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.components import component_boxes
from nnunet_kits.dicom_output.codes import SIDES, STRUCTURES, coded
from nnunet_kits.dicom_output.outlines import outlines
from nnunet_kits.dicom_output.segments import Segments, label_of
from nnunet_kits.dicom_output.source import (
    NAME,
    RESEARCH,
    VERSION,
    Author,
    Source,
    need_highdicom,
    series_number,
    without_remarks,
    write_referring,
)
from nnunet_kits.errors import ImageError
from nnunet_kits.geometry import Box, crop
from nnunet_kits.labels import Label
from nnunet_kits.palette import LABEL_COLOURS

STORAGE = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: the class that structure sets refer to studies by (PS3.3, C.8.8.5)."""


def write_structure_set(path: Path, source: Source, segments: Segments, author: Author) -> Any:
    """Write a label map as an RT structure set.

    Args:
        path: of the file.
        source: the series; its slices are referred to.
        segments: at least one; of a label map on the series' grid.
        author: what made it.

    Returns:
        The data set.

    Raises:
        ImageError: no segment; a series that lacks what the structure set must repeat.

    Source: DICOM PS3.3, A.19 and C.8.8.5, C.8.8.6, C.8.8.8.
    """
    if not segments.segments:
        raise ImageError("the label map is empty, and a structure set has at least one outline.")
    return write_referring(path, source, lambda: _made(source, segments, author))


def _made(source: Source, segments: Segments, author: Author) -> Any:
    """The data set."""
    hd = need_highdicom()
    from pydicom.uid import ImplicitVRLittleEndian

    header = source.headers[0]
    with without_remarks():
        made = hd.SOPClass(
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=hd.UID(),
            series_number=series_number(source, 3),
            sop_instance_uid=hd.UID(),
            sop_class_uid=STORAGE,
            instance_number=1,
            modality="RTSTRUCT",
            transfer_syntax_uid=ImplicitVRLittleEndian,  # explicit ones have no room for outlines of 64 kB and more
            manufacturer=NAME,
            manufacturer_model_name=(author.model or NAME)[:64],
            software_versions=VERSION,
            series_description=f"Kidney, tumor, cyst outlines; {RESEARCH}",
        )
        made.copy_patient_and_study_information(header)
    made.OperatorsName = ""
    made.ApprovalStatus = "UNAPPROVED"
    made.FrameOfReferenceUID = header.FrameOfReferenceUID
    made.PositionReferenceIndicator = header.get("PositionReferenceIndicator", "")
    made.StructureSetLabel = "KIDNEYS_MASSES"
    made.StructureSetDescription = f"Kidneys, tumors and cysts; {RESEARCH}; {NAME} {VERSION} {author.model}".strip()
    made.StructureSetDate, made.StructureSetTime = f"{datetime.now():%Y%m%d %H%M%S}".split()
    made.ReferencedFrameOfReferenceSequence = [_frame_of_reference(source)]
    made.StructureSetROISequence, made.ROIContourSequence, made.RTROIObservationsSequence = [], [], []
    boxes = component_boxes(segments.numbers)
    for number, (segment, box) in enumerate(zip(segments.segments, boxes, strict=True), 1):
        name = author.calls(segment.structure)
        colour = LABEL_COLOURS[Label[segment.structure.upper()]]
        made.StructureSetROISequence.append(
            _item(
                ROINumber=number,
                ReferencedFrameOfReferenceUID=header.FrameOfReferenceUID,
                ROIName=label_of(name, segment.component, segment.side),
                ROIGenerationAlgorithm="AUTOMATIC",
            )
        )
        contours = list(_contours(source, box, crop(segments.numbers, box) == number))
        made.ROIContourSequence.append(
            _item(ROIDisplayColor=list(colour), ReferencedROINumber=number, ContourSequence=contours)
        )
        made.RTROIObservationsSequence.append(_observation(number, name, segment.side))
    return made


def _frame_of_reference(source: Source) -> Any:
    """The slices that may be referred to."""
    header = source.headers[0]
    slices = [_slice(source, place) for place in range(len(source.places))]
    series = _item(SeriesInstanceUID=header.SeriesInstanceUID, ContourImageSequence=slices)
    study = _item(
        ReferencedSOPClassUID=STUDY_MANAGEMENT,
        ReferencedSOPInstanceUID=header.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=header.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _slice(source: Source, place: int) -> Any:
    """A slice as outlines refer to it: a file, or a frame of the only one."""
    several = len(source.headers) > 1 or source.frames == 1
    header = source.headers[place if several else 0]
    item = _item(ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID)
    if not several:
        item.ReferencedFrameNumber = source.places[place] + 1
    return item


def _contours(source: Source, box: Box, mask: NDArray[np.bool_]) -> Iterator[Any]:
    """The outlines of a segment, slice by slice, in DICOM's millimetres; ``mask`` lies in the box."""
    to_mm = np.diag([-1.0, -1.0, 1.0, 1.0]) @ source.grid.affine  # DICOM's axes grow to left, back and head
    (first, _), (row, _), (column, _) = box
    for place, section in enumerate(mask, first):
        for ring in outlines(section):
            corners = np.column_stack([ring + (column, row), np.full(len(ring), place), np.ones(len(ring))])
            yield _item(
                ContourImageSequence=[_slice(source, place)],
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(ring),
                ContourData=[f"{value:.3f}" for value in (corners @ to_mm.T)[:, :3].ravel()],
            )


def _observation(number: int, name: str, side: str) -> Any:
    """What a structure is, by its codes and side."""
    structure, concept = STRUCTURES[name], need_highdicom().sr.CodedConcept
    kind = concept.from_code(coded(structure.type))
    kind.SegmentedPropertyTypeModifierCodeSequence = [concept.from_code(coded(SIDES[side]))]
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        SegmentedPropertyCategoryCodeSequence=[concept.from_code(coded(structure.category))],
        RTROIIdentificationCodeSequence=[kind],
        RTROIInterpretedType="" if structure.is_lesion else "ORGAN",
        ROIInterpreter="",
    )


def _item(**values: Any) -> Any:
    """A data set of some attributes, to stand in another."""
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made
