"""Label map files of DICOM series, written as DICOM: a segmentation, a structured report and outlines for each case."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from nnunet_kits.cases.cts import Choice, cts_of
from nnunet_kits.cases.finding import check_labels_beside, find_label_maps
from nnunet_kits.dicom_output.measures import write_measures
from nnunet_kits.dicom_output.segmentation import write_segmentation
from nnunet_kits.dicom_output.segments import Each, label_of, segments_of
from nnunet_kits.dicom_output.source import Author, open_source
from nnunet_kits.dicom_output.structure_set import write_structure_set
from nnunet_kits.errors import ImageError, KitsError, MeasurementError
from nnunet_kits.images import CT_ENDINGS, CtSource, Series, check_placed, check_same_grid, read_labels
from nnunet_kits.measurement.files import Task, measure_task

logger = logging.getLogger(__name__)

SEGMENTATION, REPORT, STRUCTURE_SET = ".seg.dcm", ".sr.dcm", ".rtstruct.dcm"


@dataclass(frozen=True)
class Results:
    """The files of a case.

    Attributes:
        segmentation: DICOM-SEG; None where the label map is empty: DICOM has no segmentation without a segment.
        report: structured report; None likewise.
        structure_set: RT structure set; None likewise, or where none was asked for.
        segments: labels of the segments, from number 1 on.
    """

    segmentation: Path | None = None
    report: Path | None = None
    structure_set: Path | None = None
    segments: tuple[str, ...] = ()


def write_files(
    labels: Path,
    series: Path,
    output: Path,
    author: Author | None = None,
    each: Each = "lesion",
    choice: Choice | None = None,
    rtstruct: bool = False,
) -> tuple[dict[str, Results], dict[str, str]]:
    """Write label maps of DICOM series as DICOM.

    Args:
        labels: a label map, or a folder of them.
        series: the DICOM folder that they were predicted of; of several patients, named as the label maps.
        output: folder for the results.
        author: what made the label maps. A dataset.json beside them may say that their tumors are any masses.
        each: one segment a lesion, or one for all lesions of a kind and side.
        choice: of a series.
        rtstruct: also write an RT structure set.

    Returns:
        Case -> its files, and case -> why it failed.

    Raises:
        ImageError: no label map, no series, or several that could be meant.
        KitsError: what the extra ``dicom`` brings is not installed.
    """
    files = find_label_maps(labels, endings=CT_ENDINGS)
    author = author or Author()
    author = replace(author, masses=check_labels_beside(labels) or author.masses)
    sources = cts_of(files, series, choice)
    output.mkdir(parents=True, exist_ok=True)
    written: dict[str, Results] = {}
    failed: dict[str, str] = {}
    for case, file in files.items():
        try:
            written[case] = write_case(case, file, _series(series, sources[case]), output, author, each, rtstruct)
        except (ImageError, MeasurementError) as error:
            failed[case] = str(error)
            logger.warning(f"{case}: failed: {error}")
        else:
            logger.info(f"{case}: {_line(written[case])}")
    return written, failed


def write_case(
    case: str,
    labels: Path,
    series: Series,
    output: Path,
    author: Author | None = None,
    each: Each = "lesion",
    rtstruct: bool = False,
) -> Results:
    """Write the label map of a series as ``CASE.seg.dcm``, and its measures as ``CASE.sr.dcm``.

    What an earlier label map of the case has left in the folder and this one has not is removed.

    Args:
        case: its name.
        labels: the label map, on the grid of the series.
        series: that it was predicted of.
        output: an existing folder.
        author: what made it.
        each: one segment a lesion, or one for all lesions of a kind and side.
        rtstruct: also write the outlines as an RT structure set, ``CASE.rtstruct.dcm``.

    Raises:
        ImageError: a label map that cannot be read or lies on another grid; a series that cannot be referred to.
        KitsError: highdicom is not installed.
    """
    author = author or Author()
    source = open_source(series)
    found = read_labels(labels)
    check_placed(labels, found.grid)
    check_same_grid(case, source.grid, found.grid)
    segments = segments_of(found, each)
    paths = [output / f"{case}{ending}" for ending in (SEGMENTATION, REPORT, STRUCTURE_SET)]
    segmentation, report, structure_set = paths
    for path in paths if not segments.segments else () if rtstruct else (structure_set,):
        path.unlink(missing_ok=True)
    if not segments.segments:
        return Results()
    made = write_segmentation(segmentation, source, segments, author)
    write_measures(report, source, measure_task(Task(case, labels, series)), made, segments, author)
    if rtstruct:
        write_structure_set(structure_set, source, segments, author)
    names = (label_of(author.calls(one.structure), one.component, one.side) for one in segments.segments)
    return Results(segmentation, report, structure_set if rtstruct else None, tuple(names))


def _series(folder: Path, source: CtSource) -> Series:
    if isinstance(source, Series):
        return source
    raise KitsError(f"{folder}: holds no DICOM series for DICOM results to refer to. Name the series' folder.")


def _line(results: Results) -> str:
    if results.segmentation is None:
        return "no kidney, tumor or cyst, so no DICOM is written: a segmentation has at least one segment"
    return f"{len(results.segments)} segments: {'; '.join(results.segments)}"
