"""Label maps as DICOM-SEG: binary, a segment each structure or lesion, on the source's own slices."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.dicom_output.codes import KIDNEY, SIDES, STRUCTURES, coded
from nnunet_kits.dicom_output.segments import Segment, Segments, label_of
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
from nnunet_kits.labels import Label
from nnunet_kits.palette import LABEL_COLOURS


def write_segmentation(path: Path, source: Source, segments: Segments, author: Author) -> Any:
    """Write a label map as DICOM-SEG.

    Args:
        path: of the file.
        source: the series; its slices are referred to.
        segments: at least one; of a label map on the series' grid.
        author: what made it.

    Returns:
        The data set, for :func:`~nnunet_kits.dicom_output.measures.write_measures` to refer to.

    Raises:
        ImageError: no segment, for which DICOM has no form; segments of another shape; a series that lacks what the
            segmentation must repeat.
    """
    columns, rows, slices = source.grid.shape
    if segments.numbers.shape != (slices, rows, columns):
        raise ImageError(
            f"the segments are {segments.numbers.shape} (slices, rows, columns), but the series is "
            f"{(slices, rows, columns)}. Give the label map of this series."
        )
    if not segments.segments:
        raise ImageError("the label map is empty, and a DICOM segmentation has at least one segment and one frame.")
    frames = segments.numbers
    if source.places != tuple(range(source.frames)):
        frames = np.zeros((source.frames, rows, columns), np.uint16)
        frames[list(source.places)] = segments.numbers
    return write_referring(path, source, lambda: _made(source, segments, frames, author))


def _made(source: Source, segments: Segments, frames: NDArray[np.uint16], author: Author) -> Any:
    """The data set; ``frames`` are all of the source's, (frames, rows, columns)."""
    hd = need_highdicom()
    with without_remarks():
        return hd.seg.Segmentation(
            source_images=list(source.headers),
            pixel_array=_smallest(frames),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_described(number, one, author) for number, one in enumerate(segments.segments, 1)],
            series_instance_uid=hd.UID(),
            series_number=series_number(source, 1),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=NAME,
            manufacturer_model_name=(author.model or NAME)[:64],
            software_versions=VERSION,
            device_serial_number="none",
            content_label="KIDNEYS_MASSES",
            content_description=f"Kidneys, tumors and cysts; {RESEARCH}",
            content_creator_name=f"{NAME}^",
            series_description=f"Kidney, tumor, cyst segmentation; {RESEARCH}",
            pixel_measures=_measures(source),
        )


def _measures(source: Source) -> Any:
    """Distances between voxels, the slices' as they lie, whatever the series states of its thickness."""
    hd = need_highdicom()
    across, down, step = source.grid.spacing_mm
    thickness = source.series.frames[0].thickness_mm or step
    return hd.PixelMeasuresSequence((down, across), thickness, step)


def _described(number: int, segment: Segment, author: Author) -> Any:
    """A segment with its codes, colour and algorithm; its side as a modifier of what lies on a side."""
    hd = need_highdicom()
    from pydicom.sr.codedict import codes

    name, kidney = author.calls(segment.structure), coded(KIDNEY)
    structure, label = STRUCTURES[name], label_of(name, segment.component, segment.side)
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=coded(structure.category),
        segmented_property_type=coded(structure.type),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            NAME, codes.cid7162.ArtificialIntelligence, VERSION, parameters=author.parameters
        ),
        tracking_uid=hd.UID(),
        tracking_id=label,
        anatomic_regions=[kidney] if structure.is_lesion else None,
        display_color=hd.color.CIELabColor.from_rgb(*LABEL_COLOURS[Label[segment.structure.upper()]]),
    )
    side = hd.sr.CodedConcept.from_code(coded(SIDES[segment.side]))
    if structure.is_lesion:
        made.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [side]
    else:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return made


def _smallest(numbers: NDArray[np.uint16]) -> NDArray[np.unsignedinteger[Any]]:
    return numbers.astype(np.uint8) if numbers.max() < 256 else numbers
