"""Measures as a DICOM structured report (TID 1500): each kidney and lesion with its segment and the source series."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import atomic_path
from nnunet_kits.dicom_output.codes import KIDNEY, QUANTITIES, SIDES, STRUCTURES, coded
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
)
from nnunet_kits.errors import ImageError
from nnunet_kits.measurement import Measure, Measures


def write_measures(
    path: Path, source: Source, measures: Measures, segmentation: Any, segments: Segments, author: Author
) -> Any:
    """Write measures as a structured report.

    A structure that has no segment of its own, such as a kidney with its masses, is reported without one.

    Args:
        path: of the file.
        source: the series.
        measures: of a label map on its grid.
        segmentation: the data set that :func:`~nnunet_kits.dicom_output.segmentation.write_segmentation` returned.
        segments: that it was written of.
        author: what made the label map.

    Returns:
        The data set.

    Raises:
        ImageError: nothing measured.
    """
    hd = need_highdicom()
    from pydicom.sr.codedict import codes

    if not measures.structures:
        raise ImageError("nothing was measured, and a structured report of measures has at least one.")
    observer = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(), name=f"{NAME}, {RESEARCH}", manufacturer_name=NAME, model_name=author.model or NAME
    )
    context = hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, observer),
    )
    content = hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.SCT.ComputedTomography,
        imaging_measurements=list(_groups(measures, segmentation, segments, author)),
        title=codes.DCM.ImagingMeasurementReport,
    )
    with without_remarks():
        made = hd.sr.ComprehensiveSR(
            evidence=[*source.headers, segmentation],
            content=content,
            series_instance_uid=hd.UID(),
            series_number=series_number(source, 2),
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=NAME,
            is_complete=True,
            series_description=f"Kidney, tumor, cyst measures; {RESEARCH}",
            manufacturer_model_name=(author.model or NAME)[:64],
            software_versions=VERSION,
        )
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    return made


def _groups(measures: Measures, segmentation: Any, segments: Segments, author: Author) -> Iterator[Any]:
    """The measurement group of each structure."""
    hd = need_highdicom()
    numbers = {(one.structure, one.component, one.side): n for n, one in enumerate(segments.segments, 1)}
    for measure in measures.structures:
        name = author.calls(measure.structure)
        structure = STRUCTURES[name]
        number = numbers.get((measure.structure, measure.component, measure.side))
        label = label_of(name, measure.component, measure.side)
        uid = hd.UID() if number is None else segmentation.SegmentSequence[number - 1].TrackingUID
        common = {
            "tracking_identifier": hd.sr.TrackingIdentifier(uid, label),
            "finding_category": coded(structure.category),
            "finding_type": coded(structure.type),
            "finding_sites": [hd.sr.FindingSite(coded(KIDNEY), laterality=coded(SIDES[measure.side]))],
            "algorithm_id": hd.sr.AlgorithmIdentification(
                NAME, VERSION, [f"{key}: {value}" for key, value in author.parameters.items()]
            ),
            "measurements": list(_measurements(measure)),
        }
        if number is None:
            yield hd.sr.MeasurementsAndQualitativeEvaluations(**common)
        else:
            part = hd.sr.ReferencedSegment(
                segmentation.SOPClassUID,
                segmentation.SOPInstanceUID,
                number,
                source_series=hd.sr.SourceSeriesForSegmentation(
                    segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
                ),
            )
            yield hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=part, **common)


def _measurements(measure: Measure) -> Iterator[Any]:
    """Its quantities; those that could not be had are left out."""
    hd = need_highdicom()
    for column, quantity in QUANTITIES.items():
        value = getattr(measure, column)
        if value is not None:
            yield hd.sr.Measurement(
                name=coded(quantity.name),
                value=value,
                unit=coded(quantity.unit),
                derivation=None if quantity.derivation is None else coded(quantity.derivation),
                method=None if quantity.method is None else coded(quantity.method),
            )
