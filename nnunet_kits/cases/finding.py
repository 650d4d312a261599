"""Finding scans and label maps: one file, a flat folder, or a KiTS folder of any year."""

import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from nnunet_kits.errors import ImageError, KitsError
from nnunet_kits.images import calls_masses, check_names
from nnunet_kits.nnunet_files import read_dataset_json
from nnunet_kits.releases import RELEASES, Release, image_files, places, reference_files, release_of

ENDINGS = (".nii.gz", ".nii")
CHANNEL = "_0000"
"""What nnU-Net writes behind the name of a case's only image."""
CASE_FOLDER = re.compile(r"case_\d{5}")
LABEL_MAPS = "Name a label map, a folder of label maps, or a KiTS folder."
SCANS = "Name a CT, a folder of CTs, or a KiTS folder."


def data_folder(source: Path, release: Release | None = None) -> Path | None:
    """The folder with the case folders of a KiTS folder: itself, or where a challenge's repository has them.

    Args:
        source: a repository's root, its data folder, or any other folder.
        release: whose places come first.

    Returns:
        None where there is no case folder.
    """
    return next((source / place for place in places(release) if case_folders(source / place)), None)


def case_folders(folder: Path) -> list[Path]:
    """The ``case_XXXXX`` folders in a folder, by name; none where it does not exist."""
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry for entry in entries if CASE_FOLDER.fullmatch(entry.name) and entry.is_dir()]


def case_of(file: Path, endings: Sequence[str] = ENDINGS) -> str:
    """The case that a file belongs to: for a challenge's own file its folder's name, else its name without ending."""
    if file.name in _kits_files():
        return Path(os.path.abspath(file)).parent.name
    return file.name.removesuffix(ending_of(file, endings))


def ending_of(file: Path, endings: Sequence[str] = ENDINGS) -> str:
    """The part of a file's name that is not its case's: ``.nii.gz``."""
    return next((ending for ending in endings if file.name.endswith(ending)), file.suffix)


def find_label_maps(source: Path, year: str | None = None, endings: Sequence[str] = ENDINGS) -> dict[str, Path]:
    """Case -> label map, by name.

    Args:
        source: a label map, a flat folder of them, or a KiTS folder.
        year: whose label map to take from a case folder, the one that is scored against; None for any year's.
        endings: of the files to take.

    Raises:
        ImageError: no such file or folder, no label map in it, or two of one case; else as :func:`unambiguous`.
    """
    if source.is_file():
        return {case_of(source, endings): source}
    release = None if year is None else release_of(year)
    names = reference_files() if release is None else (release.label_file(None),)
    data = _nearest(source, LABEL_MAPS, endings, release)
    folders = case_folders(data)
    found = unambiguous([*flat_files(data, endings), *_files_in(folders, names)], endings)
    if not found and folders and release is not None:
        raise ImageError(
            f"{data}: its case folders hold no {names[0]}, the label map of {release.edition}. "
            "Is it another year's folder?"
        )
    if not found:
        raise ImageError(
            f"{source}: holds no {' or '.join(endings)} file and no case_XXXXX folder with a label map. {LABEL_MAPS}"
        )
    return found


def check_labels_beside(source: Path) -> bool:
    """Refuse label maps of which the ``dataset.json`` beside them says that they are of other structures.

    Args:
        source: a label map, or a folder of them.

    Returns:
        Whether it says that their tumors are any masses, cysts too.

    Raises:
        ImageError: a label's name, and what it would be read as.
    """
    file = (source if source.is_dir() else source.parent) / "dataset.json"
    try:
        labels = read_dataset_json(file)["labels"]
    except KitsError:  # none, or not as nnU-Net writes it
        return False
    names = [(value, name) for name, value in labels.items() if isinstance(value, int)]
    check_names(names, file)
    return calls_masses(names)


def find_scans(source: Path, endings: Sequence[str] = ENDINGS) -> dict[str, Path]:
    """Case -> CT, by name: ``case.nii.gz``, ``case_0000.nii.gz`` as nnU-Net names it, or a KiTS folder's.

    Args:
        source: a CT, a flat folder of them, or a KiTS folder.
        endings: of the files to take.

    Raises:
        ImageError: no such file or folder, no CT in it, two of one case, or a scan of several channels.
    """
    if source.is_file():
        files = [source]
    else:
        data = _nearest(source, SCANS, endings)
        files = [*flat_files(data, endings), *_files_in(case_folders(data), image_files())]
        files = [file for file in files if file.name.endswith(tuple(endings))]
    if not files:
        raise ImageError(f"{source}: holds no {' or '.join(endings)} file and no case_XXXXX folder with a CT. {SCANS}")
    for file in files:
        case = case_of(file, endings)
        if re.search(r"_\d{4}$", case) and not case.endswith(CHANNEL):
            raise ImageError(
                f"{file}: another image of case {case[:-5]}, but a CT has one channel, "
                f"{case[:-5]}{CHANNEL}{ending_of(file, endings)}."
            )
    return unambiguous(files, endings, CHANNEL)


def holds_scans(folder: Path, endings: Sequence[str] = ENDINGS) -> bool:
    """Whether a folder holds CT files, flat or as a KiTS folder does."""
    data = data_folder(folder)
    return bool(flat_files(folder, endings)) or bool(data and _files_in(case_folders(data), image_files()))


def scans_of(cases: Iterable[str], images: Path, endings: Sequence[str] = ENDINGS) -> dict[str, Path]:
    """Case -> its CT, for some cases.

    A file that nnU-Net would take for an image, ``case_0000.nii.gz``, comes before others: ``case.nii.gz`` beside it
    may be a label map.

    Args:
        cases: their names.
        images: a CT, which is then that of every case, a flat folder of them, or a KiTS folder.
        endings: of the files to take.

    Raises:
        ImageError: no such file or folder, or a case without CT or with two.
    """
    if images.is_file():
        return dict.fromkeys(cases, images)
    data = _nearest(images, SCANS, endings)
    return {case: _scan_of(case, data, endings) for case in cases}


def _scan_of(case: str, data: Path, endings: Sequence[str]) -> Path:
    names = [f"{case}{CHANNEL}{ending}" for ending in endings]
    others = [*(f"{case}{ending}" for ending in endings), *(f"{case}/{name}" for name in image_files())]
    for candidates in (names, others):
        found = [data / name for name in candidates if (data / name).is_file()]
        if found:
            return unambiguous(found, endings, CHANNEL)[case]
    raise ImageError(
        f"{data}: no CT of {case}, neither {names[0]} nor {others[-1]}. Name the folder that holds it with --images."
    )


def flat_files(folder: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """What ends so in a folder, by name; hidden files are left out.

    A folder, a pipe or a link that leads nowhere is not: whoever reads it says so, else a case would be missed.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return [file for file in files if file.name.endswith(tuple(endings)) and not file.name.startswith(".")]


def unambiguous(files: Iterable[Path], endings: Sequence[str] = ENDINGS, channel: str = "") -> dict[str, Path]:
    """Case -> its only file, by name.

    Args:
        files: in any order.
        endings: that are not part of a case's name.
        channel: another ending, before those.

    Raises:
        ImageError: two files of one case, two cases that are one on systems that tell no case of letters, or a name
            that is no text.
    """
    found: dict[str, Path] = {}
    for file in files:
        if any("\udc80" <= letter <= "\udcff" for letter in file.name):
            raise ImageError(
                f"{os.fsencode(file)!r}: its name cannot be read in the encoding {sys.getfilesystemencoding()}. Rename "
                "the file, or, if the name is right, set PYTHONUTF8=1."
            )
        case = case_of(file, endings).removesuffix(channel)
        if case in found:
            raise ImageError(f"{case}: both {found[case]} and {file} are there. Move one of them away.")
        found[case] = file
    check_names_apart(found)
    return dict(sorted(found.items()))


def check_names_apart(cases: Iterable[str]) -> None:
    """Refuse cases whose results would overwrite each other on Windows and macOS.

    Raises:
        ImageError: naming both.
    """
    seen: dict[str, str] = {}
    for case in cases:
        other = seen.setdefault(unicodedata.normalize("NFC", case).casefold(), case)
        if other != case:
            raise ImageError(
                f"{case} and {other} differ in upper and lower case alone, or in how accents are written: on many "
                "systems their files are one. Rename one of them."
            )


def _nearest(source: Path, advice: str, endings: Sequence[str] = ENDINGS, release: Release | None = None) -> Path:
    """Where to look: a folder that holds such files itself, else the data folder below it."""
    if not source.is_dir():
        raise ImageError(f"{source}: no such file or folder. {advice}")
    return source if flat_files(source, endings) else data_folder(source, release) or source


def _files_in(folders: Iterable[Path], names: Iterable[str]) -> list[Path]:
    """The files of these names in some folders."""
    return [folder / name for folder in folders for name in names if (folder / name).is_file()]


def _kits_files() -> set[str]:
    """Names that a challenge gives to the files of every case."""
    labels = (name for release in RELEASES.values() for name in release.label_files.values())
    return {*image_files(), *labels}
