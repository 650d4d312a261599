"""Finding CTs of any format: files, folders of them, KiTS folders, and DICOM, a case for each patient's folder."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases.finding import SCANS, check_names_apart, find_scans, holds_scans, scans_of
from nnunet_kits.errors import ImageError
from nnunet_kits.images import CT_ENDINGS, CtSource, Found, choose_series
from nnunet_kits.images.dicom_files import Files, files_below, is_dicom, read_files
from nnunet_kits.images.frames import Frame
from nnunet_kits.images.series import find_series, series_of


@dataclass(frozen=True)
class Choice:
    """Which series of a DICOM folder is meant.

    Attributes:
        series: UID or number; None for the only one that is a plain CT.
        resample: whether slices that lean or lie at uneven distances may be resampled.
    """

    series: str | None = None
    resample: bool = False


@dataclass(frozen=True)
class Cts:
    """What was found.

    Attributes:
        sources: case -> its CT, by name.
        refused: case -> why it has none that can be taken: one of several patients.
    """

    sources: dict[str, CtSource]
    refused: dict[str, str]


def find_cts(source: Path | Sequence[Path], choice: Choice | None = None, endings: Sequence[str] = CT_ENDINGS) -> Cts:
    """Case -> CT.

    Args:
        source: a CT, a folder of CTs, a KiTS folder, a DICOM folder, a folder of patients' DICOM folders, or files.
        choice: of a series; None where no option speaks of DICOM.
        endings: of files that are no DICOM.

    Raises:
        ImageError: nothing there, two CTs of one case, a scan of several channels; no or several series that could be
            meant, where there is one path and one case; a choice where there is no DICOM.
        KitsError: DICOM, but pydicom is not installed.
    """
    paths = [source] if isinstance(source, Path) else list(source)
    if all(_is_dicom_file(path, endings) for path in paths):
        found = find_series(paths if len(paths) > 1 else paths[0])
        return Cts({paths[0].resolve().parent.name: _chosen(found, choice)}, {})
    return _together([_find_in(path, choice, endings, len(paths) == 1) for path in paths])


def cts_of(cases: Iterable[str], images: Path, choice: Choice | None = None) -> dict[str, CtSource]:
    """Case -> its CT, for some cases.

    Args:
        cases: their names.
        images: a CT or a DICOM folder of one patient, which is then that of every case; a flat folder of CTs, a KiTS
            folder, or a folder of patients' DICOM folders, named as the cases.
        choice: of a series.

    Raises:
        ImageError: a case without CT or with two; else as :func:`find_cts`.
    """
    names = list(cases)
    dicom = is_dicom(images) and not images.name.endswith(CT_ENDINGS) if images.is_file() else _is_dicom_folder(images)
    if not dicom:
        if choice is not None and choice != Choice():
            raise ImageError(f"{images}: holds no DICOM, so --series and --resample-tilt have no meaning.")
        return dict(scans_of(names, _header_of(images, CT_ENDINGS), CT_ENDINGS))
    found = find_cts(images, choice)
    if len(found.sources) + len(found.refused) == 1:
        return dict.fromkeys(names, next(iter(found.sources.values())))
    for name in names:
        if name in found.refused:
            raise ImageError(f"{name}: {found.refused[name]}")
        if name not in found.sources:
            known = ", ".join([*found.sources][:5])
            raise ImageError(f"{images}: no DICOM folder {name}. Its folders are {known}. Name label maps as they are.")
    return {name: found.sources[name] for name in names}


def patients(folder: Path) -> dict[str, Found]:
    """Case -> the series below its folder: one case, or one for each folder where these are different patients'.

    Returns:
        Nothing where there is no DICOM.

    Raises:
        KitsError: DICOM, but pydicom is not installed.
    """
    files = read_files(files_below(folder))
    if not files.frames and not files.damaged:
        return {}
    top = folder
    while True:
        parts = {path: _part(path, top) for path in (*(frame.file.path for frame in files.frames), *files.damaged)}
        names = set(parts.values())
        if len(names) != 1 or "" in names:
            break
        top = top / names.pop()
    people: dict[str, set[str]] = {}
    for frame in files.frames:
        people.setdefault(parts[frame.file.path], set()).add(_person(frame))
    if "" in parts.values() or len(set.union(set(), *people.values())) < 2:
        return {folder.resolve().name: series_of(files, str(folder))}
    found = {}
    for name in sorted(set(parts.values())):
        own = Files(
            tuple(frame for frame in files.frames if parts[frame.file.path] == name),
            tuple(path for path in files.others if path.is_relative_to(top / name)),
            {path: reason for path, reason in files.damaged.items() if parts[path] == name},
        )
        found[name] = series_of(own, str(top / name))
    return found


def _find_in(path: Path, choice: Choice | None, endings: Sequence[str], alone: bool) -> Cts:
    """:func:`find_cts` for one of the paths; ``alone`` where it is the only one."""
    if _is_dicom_file(path, endings):
        return _chosen_of_all({path.resolve().parent.name: find_series(path)}, choice, alone)
    if path.is_dir() and not holds_scans(path, endings):
        cases = patients(path)
        if cases:
            return _chosen_of_all(cases, choice, alone)
    if choice is not None and choice != Choice():
        raise ImageError(f"{path}: holds no DICOM, so --series and --resample-tilt have no meaning. Leave them out.")
    return Cts(dict(find_scans(_header_of(path, endings), endings)), {})


def _together(parts: Sequence[Cts]) -> Cts:
    """What several paths hold.

    Raises:
        ImageError: two CTs of one case.
    """
    sources: dict[str, CtSource] = {}
    refused: dict[str, str] = {}
    for part in parts:
        for name in (*part.sources, *part.refused):
            if name in sources or name in refused:
                raise ImageError(f"{name}: there are two CTs of this name. Predict them apart, or rename one.")
        sources |= part.sources
        refused |= part.refused
    check_names_apart([*sources, *refused])
    return Cts(dict(sorted(sources.items())), refused)


def _chosen(found: Found, choice: Choice | None) -> CtSource:
    choice = choice or Choice()
    return choose_series(found, choice.series, choice.resample)


def _chosen_of_all(cases: dict[str, Found], choice: Choice | None, alone: bool) -> Cts:
    """A series of each case; what is wrong with the only case of the only path is an error."""
    sources: dict[str, CtSource] = {}
    refused: dict[str, str] = {}
    for name, found in cases.items():
        try:
            sources[name] = _chosen(found, choice)
        except ImageError as error:
            if alone and len(cases) == 1:
                raise
            refused[name] = str(error)
    return Cts(sources, refused)


def _is_dicom_file(path: Path, endings: Sequence[str]) -> bool:
    """Whether a file is DICOM, and not one of another format."""
    return path.is_file() and is_dicom(path) and not path.name.endswith(tuple(endings))


def _is_dicom_folder(folder: Path) -> bool:
    """Whether a folder is no other and holds a DICOM file somewhere."""
    return not holds_scans(folder, CT_ENDINGS) and any(is_dicom(path) for path in files_below(folder))


def _part(path: Path, top: Path) -> str:
    """Name of the folder right below another in which a file lies; nothing where it lies in that one itself."""
    parts = path.relative_to(top).parts
    return parts[0] if len(parts) > 1 else ""


def _person(frame: Frame) -> str:
    """Whose a frame is; of a patient without ID, which study."""
    return frame.file.patient or f"study {frame.file.study}"


def _header_of(path: Path, endings: Sequence[str]) -> Path:
    """A file of a pair is named by its header.

    Raises:
        ImageError: a file of a format that is not read.
    """
    if path.is_file() and path.suffix == ".img" and ".hdr" in endings:
        return path.with_suffix(".hdr")
    if path.is_file() and not path.name.endswith(tuple(endings)):
        raise ImageError(f"{path}: is in no format that is read, which are {', '.join(endings)}, and DICOM. {SCANS}")
    return path
