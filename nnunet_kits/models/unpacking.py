"""A stranger's zip: looked at before anything of it is written, and then only the models in it.

Nothing leaves the folder it is unpacked to: no paths that climb or are absolute, no links, no devices, no two entries
of one name, no entry that unpacks to more than it may. Python's ``extractall`` mends paths silently and has no limit.
"""

import re
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nnunet_kits.errors import ModelError
from nnunet_kits.model_folder import ModelFolder

MOST_ENTRIES = 100_000
MOST_BYTES = 200 * 10**9
MOST_TIMES = 100
"""An archive may unpack to so many times its size; weights hardly pack at all, plans and logs tenfold."""

FREE_TIMES_BYTES = 100_000_000
"""Less than this is no bomb, however well it packs."""

PACKINGS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
OLD = re.compile(r"^Task\d{3}_|\.model(\.pkl)?$|^plans\.pkl$")
"""Names that only nnU-Net v1 gave."""


@dataclass(frozen=True)
class Found:
    """The models in a zip or folder.

    Attributes:
        files: what each model folder (``DatasetNNN_Name/<trainer>__<plans>__<configuration>``) holds: relative path
            -> path in the zip or folder.
    """

    files: Mapping[str, Mapping[str, str]]

    @property
    def all_files(self) -> dict[str, str]:
        """Path below the folder that the models are put into -> path in the zip or folder."""
        return {f"{model}/{path}": source for model, files in self.files.items() for path, source in files.items()}


def unpack(archive: Path, place: Path, name: str) -> Found:
    """Unpack the models in a zip.

    Args:
        archive: the zip.
        place: an empty folder.
        name: stands in for a dataset's name where the zip has none.

    Raises:
        ModelError: no zip, a zip that is not to be trusted, one without a model of nnU-Net v2, or too little space.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = check_entries(archive, opened)
            found = find_models(archive, entries, name)
            wanted = found.all_files
            needed = sum(entries[source].file_size for source in wanted.values())
            free = shutil.disk_usage(place).free
            if needed > free:
                raise ModelError(
                    f"{archive}: unpacks to {needed / 1e9:.2f} GB, but {place.parent} has {free / 1e9:.2f} GB free. "
                    "Make room."
                )
            for target, source in wanted.items():
                path = place / target
                path.parent.mkdir(parents=True, exist_ok=True)
                with opened.open(entries[source]) as packed, path.open("xb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, zipfile.LargeZipFile) as error:
        raise ModelError(f"{archive}: is no zip, or damaged ({error}). Download it again.") from error
    return found


def check_entries(archive: Path, opened: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Name -> entry, of all files in a zip.

    Raises:
        ModelError: the entry that is not to be trusted, and why.
    """
    infos = opened.infolist()
    if len(infos) > MOST_ENTRIES:
        raise ModelError(f"{archive}: has {len(infos)} entries; {MOST_ENTRIES} at most are allowed.")
    entries: dict[str, zipfile.ZipInfo] = {}
    seen: dict[str, str] = {}
    for info in infos:
        if why := _wrong(info):
            raise ModelError(
                f"{archive}: {info.orig_filename!r} {why}. The zip is not to be trusted: nothing of it was unpacked."
            )
        if info.is_dir():
            continue
        key = unicodedata.normalize("NFC", info.filename).casefold()
        if key in seen:
            raise ModelError(f"{archive}: {info.filename!r} stands in it twice. Nothing of it was unpacked.")
        seen[key] = info.filename
        entries[info.filename] = info
    size, packed = archive.stat().st_size, sum(info.compress_size for info in infos)
    total = sum(info.file_size for info in infos)
    if packed > size or total > MOST_BYTES or (total > FREE_TIMES_BYTES and total > MOST_TIMES * size):
        raise ModelError(
            f"{archive}: would unpack from {size / 1e6:.1f} MB to {total / 1e9:.1f} GB: a bomb. Nothing "
            "of it was unpacked."
        )
    return entries


def _wrong(info: zipfile.ZipInfo) -> str | None:
    """What is wrong with an entry of a zip."""
    name, mode = info.orig_filename, info.external_attr >> 16
    parts = name.rstrip("/").split("/")
    if "\x00" in name or "\\" in name or ":" in name or name.startswith("/"):
        return "is an absolute path, or has signs that no path in a zip has"
    if ".." in parts or "." in parts or "" in parts:
        return "climbs out of the folder, or has an empty part"
    if any(RESERVED.fullmatch(part) or part != part.rstrip(". ") or not part.isprintable() for part in parts):
        return "has a name that not every system can write"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if stat.S_ISLNK(mode) else "is a device, or no file"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.compress_type not in PACKINGS:
        return f"is packed in a way (number {info.compress_type}) that is not allowed"
    return None


def find_models(where: Path, names: Iterable[str], name: str) -> Found:
    """The model folders among the paths in a zip or folder.

    Args:
        where: the zip or folder, for messages.
        names: paths in it, with ``/``.
        name: stands in for a dataset's name.

    Raises:
        ModelError: there is none, or one of nnU-Net v1.
    """
    names = list(names)
    paths = {path: PurePosixPath(path) for path in names}
    roots = {path.parent for path in paths.values() if path.name == "plans.json"}
    roots &= {path.parent for path in paths.values() if path.name == "dataset.json"}
    models: dict[str, dict[str, str]] = {}
    for root in sorted(roots):
        inside = {str(path.relative_to(root)): text for text, path in paths.items() if path.is_relative_to(root)}
        if ModelFolder.named(Path(), root.name) is None or not any(map(_is_checkpoint, inside)):
            continue
        dataset = root.parent.name if re.fullmatch(r"Dataset\d{3}_.+", root.parent.name) else f"Dataset000_{name}"
        if f"{dataset}/{root.name}" in models:
            raise ModelError(f"{where}: holds two models {dataset}/{root.name}. Import one of them by its folder.")
        models[f"{dataset}/{root.name}"] = inside
    if models:
        return Found(models)
    old = sorted({part for path in paths.values() for part in path.parts if OLD.search(part)})
    if old:
        raise ModelError(
            f"{where}: holds a model of nnU-Net v1 ({', '.join(old[:3])}), which nnU-Net v2 cannot read and no tool "
            "converts: its networks are others. Use it in its own container, or a model of nnU-Net v2."
        )
    top = sorted({path.parts[0] for path in paths.values() if path.parts})
    raise ModelError(
        f"{where}: holds no model of nnU-Net v2, which is a folder <trainer>__<plans>__<configuration> with "
        f"plans.json, dataset.json and checkpoints in fold_*. It holds {', '.join(top[:8]) or 'nothing'}."
    )


def _is_checkpoint(path: str) -> bool:
    return re.fullmatch(r"fold_[^/]+/checkpoint_[^/]+\.pth", path) is not None
