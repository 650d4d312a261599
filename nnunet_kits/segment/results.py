"""The folder of results: where each file lies, and what is kept so that a run that was stopped goes on."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnunet_kits import __version__
from nnunet_kits.cases.cts import Cts
from nnunet_kits.cases.records import Record, open_record, stamp
from nnunet_kits.dicom_output import Author, Results
from nnunet_kits.errors import KitsError
from nnunet_kits.images import CtSource, Series, name_of, output_ending

RECORD, REPORT = "segment.json", "report.html"
LABELS, DICOM, PICTURES = "labels", "dicom", "pictures"

FILES = ("segmentation", "report", "structure_set")
"""DICOM results of a patient, as :class:`~nnunet_kits.dicom_output.Results` has them."""


class Folder:
    """The results of some patients.

    Attributes:
        path: the folder.
        cts: the patients' CTs; one whose results here are of another CT is refused.
        record: ``segment.json``: of each patient the CT, and with what its DICOM results were made.
    """

    def __init__(self, path: Path, cts: Cts, overwrite: bool) -> None:
        """Open a folder, or make it.

        Raises:
            KitsError: it holds results of patients that are not among these.
        """
        path.mkdir(parents=True, exist_ok=True)

        def differs(before: Mapping[str, Any]) -> str | None:
            others = [case for case in before.get("cases", {}) if case not in cts.sources and case not in cts.refused]
            return f"results of {', '.join(others)}, whose measures and report would be lost" if others else None

        self.path = path
        self.record: Record = open_record(path / RECORD, {"version": __version__}, differs, KitsError, overwrite)
        refused = dict(cts.refused)
        for case, image in cts.sources.items():
            known, now = self._kept(case).get("image"), _identity(image)
            if known not in (None, now) and self.labels(case, image).exists():
                refused[case] = (
                    f"{path} holds results of another CT of this name, not of {name_of(image)}. Give another folder, "
                    "or --overwrite."
                )
            elif known != now:
                self.record.cases[case] = {"image": now}
        self.record.save()
        self.cts = Cts({case: image for case, image in cts.sources.items() if case not in refused}, refused)

    def labels(self, case: str, image: CtSource) -> Path:
        """The label map of a patient."""
        return self.path / LABELS / f"{case}{output_ending(image)}"

    def dicom_before(self, case: str, labels: Path, author: Author, each: str, rtstruct: bool) -> Results | None:
        """The DICOM results that were made of the same label map in the same way: new ones would be other instances.

        Returns:
            None where there are none, or not all of their files.
        """
        kept = self._kept(case).get("dicom")
        if not isinstance(kept, dict) or kept.get("made_with") != _made_with(labels, author, each):
            return None
        names, segments = [kept.get(which) for which in FILES], kept.get("segments")
        if not isinstance(segments, list) or not all(isinstance(name, str | None) for name in names):
            return None
        files = [None if name is None else self.path / DICOM / name for name in names]
        if any(file is not None and not file.is_file() for file in files):
            return None
        segmentation, report, structure_set = files
        if segments and rtstruct and structure_set is None:
            return None
        return Results(segmentation, report, structure_set, tuple(map(str, segments)))

    def add_dicom(self, case: str, labels: Path, author: Author, each: str, made: Results) -> None:
        """Note the DICOM results of a patient."""
        files = {which: getattr(made, which) for which in FILES}
        names = {which: None if file is None else file.name for which, file in files.items()}
        kept = {"made_with": _made_with(labels, author, each), **names, "segments": list(made.segments)}
        self.record.add(case, {**self._kept(case), "dicom": kept})

    def _kept(self, case: str) -> dict[str, Any]:
        found = self.record.cases.get(case)
        return found if isinstance(found, dict) else {}


def _identity(image: CtSource) -> dict[str, Any]:
    """What tells a CT from another one of the same name."""
    return {"series": image.uid} if isinstance(image, Series) else {"file": stamp(image)}


def _made_with(labels: Path, author: Author, each: str) -> dict[str, Any]:
    return {"version": __version__, "labels": stamp(labels), **asdict(author), "segments": each}
