"""The steps from CTs to results, each by its own part of the package, as the verbs do them one by one."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from nnunet_kits.cases.cts import Choice, find_cts
from nnunet_kits.dicom_output import Author, Results, write_case
from nnunet_kits.dicom_output.segments import Each
from nnunet_kits.dicom_output.source import need_highdicom
from nnunet_kits.errors import KitsError
from nnunet_kits.images import CtSource, Series
from nnunet_kits.measurement.files import TABLE, measure_cases
from nnunet_kits.measurement.measure import Measures
from nnunet_kits.segment.models import Models
from nnunet_kits.segment.results import DICOM, LABELS, PICTURES, REPORT, Folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patient:
    """The results of one CT.

    Attributes:
        labels: label map, in the CT's format and on its grid; NIfTI where the CT is DICOM.
        measures: of its kidneys, tumors and cysts.
        segmentation: DICOM-SEG; None where the CT is no DICOM, or nothing was found.
        structured_report: the measures as DICOM (TID 1500); None likewise.
        structure_set: the outlines as DICOM (RT-STRUCT); None likewise, or where none was asked for.
    """

    labels: Path
    measures: Measures
    segmentation: Path | None = None
    structured_report: Path | None = None
    structure_set: Path | None = None


@dataclass(frozen=True)
class Segmented:
    """What a call has made.

    Attributes:
        output: the folder that holds all of it.
        report: one HTML file of all patients; None where there is no result.
        table: ``measures.csv`` of all patients; ``measures.json`` lies beside it.
        pictures: folder of PNG previews.
        cases: patient -> results.
        failed: patient -> why there are no results, or not all.
    """

    output: Path
    report: Path | None
    table: Path
    pictures: Path
    cases: dict[str, Patient] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def segment(
    source: Path | Sequence[Path],
    output: Path,
    models: Models | None = None,
    *,
    choice: Choice | None = None,
    each: Each = "lesion",
    rtstruct: bool = False,
    viewer_mb: float | None = None,
    workers: int = 1,
    overwrite: bool = False,
) -> Segmented:
    """Segment CTs and write all that is known of them; what was made before is kept.

    A patient that fails does not stop the others.

    Args:
        source: a CT of any format, a DICOM folder, a folder of CTs or of patients' DICOM folders, or files.
        output: folder for the results, of these patients alone.
        models: to predict with; None for Renal-Net, which must be installed.
        choice: of a DICOM series.
        each: one DICOM segment a lesion, or one for all lesions of a kind and side.
        rtstruct: of DICOM series write an RT structure set, too.
        viewer_mb: megabytes of the report for the slices of each patient; 0 for none, None for what ``report`` takes.
        workers: processes, fewer where memory is short.
        overwrite: make again what is there.

    Raises:
        InferenceError: models that are not there or do not fit; too little memory.
        ImageError: no CT, or a single one that cannot be taken.
        KitsError: models of other labels; the folder holds results of other patients or settings; DICOM, but the
            extra ``dicom`` is not installed.
    """
    models = models or Models()
    masses = models.check()
    author = Author(models.name, masses)
    cts = find_cts(source, choice)
    if any(isinstance(image, Series) for image in cts.sources.values()):
        need_highdicom()
    folder = Folder(output, cts, overwrite)
    from nnunet_kits.inference.files import predict_files

    failed = dict(predict_files(models.job(), folder.cts, output / LABELS, workers, overwrite))
    images = {case: image for case, image in folder.cts.sources.items() if case not in failed}
    labels = {case: folder.labels(case, image) for case, image in images.items()}
    measures, not_measured = measure_cases(labels, images, output, workers=workers)
    failed |= not_measured
    written, not_written = _write_dicom(folder, {case: images[case] for case in measures}, author, each, rtstruct)
    failed |= not_written
    report = None
    if measures:
        report = output / REPORT
        shown = {case: (images[case], labels[case]) for case in measures}
        intro = f"{len(shown)} {'CT' if len(shown) == 1 else 'CTs'}."
        intro += f" Results of {', '.join(failed)} are missing: see What was run." if failed else ""
        intro += "\n\nResearch use only: not for diagnosis or treatment."
        _report(report, intro, shown, _facts(source, models, author, failed), viewer_mb, workers)
    patients = {
        case: Patient(labels[case], found, made.segmentation, made.report, made.structure_set)
        for case, found in measures.items()
        for made in [written.get(case, Results())]
    }
    return Segmented(output, report, output / TABLE, output / PICTURES, patients, failed)


def _write_dicom(
    folder: Folder, images: Mapping[str, CtSource], author: Author, each: Each, rtstruct: bool
) -> tuple[dict[str, Results], dict[str, str]]:
    """DICOM results of the patients that came as DICOM, and why there are none of some."""
    written: dict[str, Results] = {}
    failed: dict[str, str] = {}
    place = folder.path / DICOM
    for case, image in images.items():
        if not isinstance(image, Series):
            continue
        place.mkdir(exist_ok=True)
        labels = folder.labels(case, image)
        made = folder.dicom_before(case, labels, author, each, rtstruct)
        try:
            if made is None:
                made = write_case(case, labels, image, place, author, each, rtstruct)
                folder.add_dicom(case, labels, author, each, made)
        except KitsError as error:
            failed[case] = f"no DICOM results: {error}"
            logger.warning(f"{case}: {failed[case]}")
            continue
        written[case] = made
        found = "; ".join(made.segments) or "nothing was found, so there is no DICOM: it has no empty segmentation"
        logger.info(f"{case}: {found}")
    return written, failed


def _report(
    path: Path,
    intro: str,
    shown: Mapping[str, tuple[CtSource, Path]],
    facts: Sequence[tuple[str, str]],
    viewer_mb: float | None,
    workers: int,
) -> None:
    """The report, and the pictures as files."""
    from nnunet_kits.reporting.report import write_pictures, write_report
    from nnunet_kits.reporting.study import ReportCase

    cases = [ReportCase(case, image, labels) for case, (image, labels) in shown.items()]
    write_pictures(path.parent / PICTURES, cases, workers)
    write_report(
        path,
        title="Kidney, tumor and cyst segmentation",
        intro=intro,
        cases=cases,
        facts=facts,
        viewer_mb=viewer_mb,
        workers=workers,
    )
    logger.info(path)


def _facts(
    source: Path | Sequence[Path], models: Models, author: Author, failed: Mapping[str, str]
) -> list[tuple[str, str]]:
    """What was run, and who is missing."""
    names = ("nnunet_kits", "nnunetv2", "torch")
    paths = [source] if isinstance(source, Path) else list(source)
    facts = [
        ("Versions", ", ".join(f"{name} {version(name)}" for name in names)),
        ("Input", str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"),
        ("Model", author.model),
        *(("Licence", text) for text in models.licences),
    ]
    if author.masses:
        facts.append(("Tumor", "of this model any renal mass, cysts too"))
    return [*facts, *((f"Failed: {case}", reason) for case, reason in failed.items())]
