"""Install a model: from the catalogue, a DOI, an address, a zip or a folder."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import atomic_folder
from nnunet_kits.errors import CheckpointError, ModelError
from nnunet_kits.json_files import read_object
from nnunet_kits.model_folder import BEST, FINAL
from nnunet_kits.models.catalogue import Entry, entry_names, load_entry
from nnunet_kits.models.download import download
from nnunet_kits.models.places import Installed, check_name, models_folder
from nnunet_kits.models.sources import NOT_STATED, Remote, find_remote, source_of
from nnunet_kits.models.unpacking import Found, find_models, unpack
from nnunet_kits.nnunet_files import read_dataset_json

MANIFEST = "manifest.json"
"""Beside an exported model's plans: where it comes from, and the SHA-256 of its files."""

Progress = Callable[[int, int | None], None]

Check = Callable[[Path], None]
"""Refuses a checkpoint, by raising."""


@dataclass(frozen=True)
class Offer:
    """A model that can be installed, and what its user must know before.

    Attributes:
        name: under which it will be installed.
        title: what its authors call it.
        licence: under what it may be used.
        citation: what to cite.
        intended_use: by its authors.
        remote: where its zip is.
        entry: of the catalogue, or None.
    """

    name: str
    title: str
    licence: str
    citation: str
    intended_use: str
    remote: Remote
    entry: Entry | None = None


def find_offer(text: str, name: str | None = None) -> Offer:
    """What a name of the catalogue, a DOI or an address offers; asks the network where it is a DOI.

    Raises:
        ModelError: nothing of that name, a model that cannot be used, or an archive that cannot be asked.
    """
    source = source_of(text)
    if source is not None:
        remote = find_remote(source)
        stem = remote.name.removesuffix(".zip")
        given = name or "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in stem)
        return Offer(check_name(given), stem, remote.licence, remote.citation, "not stated", remote)
    if text not in entry_names():
        raise ModelError(
            f"there is no model {text!r}. Known: {', '.join(entry_names())}; or give a DOI (doi:10.5281/zenodo.N), an "
            "address (https://...), or nnunet_kits models import ZIP."
        )
    entry = load_entry(text)
    if entry.refused is not None:
        raise ModelError(f"{text}: {entry.refused}")
    remote = find_remote(entry.source)
    licence = ". ".join(part.rstrip(".") for part in (entry.licence.name or remote.licence, entry.licence.note) if part)
    return Offer(check_name(name or text), entry.title, licence, entry.citation, entry.intended_use, remote, entry)


def install(offer: Offer, check: Check, progress: Progress = lambda *_: None) -> Installed:
    """Download a model, verify it, and unpack it under its name.

    Args:
        offer: the model.
        check: of every checkpoint, before the model gets its name.
        progress: told how many bytes are there, and how many there will be.

    Raises:
        ModelError: it cannot be downloaded, verified or unpacked, or the name is taken.
    """
    root = models_folder()
    root.mkdir(parents=True, exist_ok=True)
    _refuse_taken(offer.name)
    archive = download(offer.remote, root / ".downloads", progress)
    with atomic_folder(root / offer.name) as folder:
        found = unpack(archive, folder, offer.name)
        _check_checkpoints(folder, found, check)
        made = _described(folder, found, offer.name, offer.remote.origin)
        made = replace(
            made,
            title=offer.title,
            sha256=_sha256(archive),
            licence=offer.licence,
            citation=offer.citation or made.citation,
            intended_use=offer.intended_use,
        )
        if offer.entry is not None:
            made = _as_catalogued(made, offer.entry)
        made.write(folder)
    archive.unlink()
    return made


def import_model(source: Path, check: Check, name: str | None = None) -> Installed:
    """Install a zip or a folder that is there.

    Args:
        source: a zip, a model folder, or a folder above one, such as a results folder.
        check: of every checkpoint, before the model gets its name.
        name: for the model; None for the zip's or folder's own.

    Raises:
        ModelError: no model in it, a zip that is not to be trusted, files that are not those of its manifest, or a name
            that is taken.
    """
    if not source.exists():
        raise ModelError(f"{source}: is not there. Give a zip, or a model folder.")
    name = check_name(name or source.resolve().name.removesuffix(".zip"))
    _refuse_taken(name)
    models_folder().mkdir(parents=True, exist_ok=True)
    with atomic_folder(models_folder() / name) as folder:
        if source.is_dir():
            found = _copy(source.resolve(), folder, name)
        else:
            found = unpack(source, folder, name)
        _check_checkpoints(folder, found, check)
        made = _described(folder, found, name, str(source.resolve()))
        made = replace(made, sha256="" if source.is_dir() else _sha256(source))
        made.write(folder)
    return made


def _check_checkpoints(folder: Path, found: Found, check: Check) -> None:
    """Refuse what holds more than data: stock nnU-Net would run it."""
    for path in found.all_files:
        if path.endswith(".pth"):
            try:
                check(folder / path)
            except CheckpointError as error:
                raise ModelError(f"{found.all_files[path]}: {str(error).partition(': ')[2]}") from error


def _refuse_taken(name: str) -> None:
    place = models_folder() / name
    if place.exists():
        raise ModelError(f"{place}: is there already. Choose another name with --name, or delete it.")


def _copy(source: Path, folder: Path, name: str) -> Found:
    """Copy the models in a folder; links in it are refused, since they may lead anywhere."""
    root = source.parent.parent  # so that a model's folder still has its dataset's name
    files = sorted(path for path in source.rglob("*") if not path.is_dir() or path.is_symlink())
    for path in files:
        if path.is_symlink() or not path.is_file():
            raise ModelError(f"{path}: is a link, or no file. Import a folder of plain files.")
    found = find_models(source, [path.relative_to(root).as_posix() for path in files], name)
    for target, there in found.all_files.items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / there, folder / target)
    return found


def _described(folder: Path, found: Found, name: str, origin: str) -> Installed:
    """What the files of a model say about it; those of a manifest must be what it says.

    Raises:
        ModelError: a file that is not what the manifest says, or JSON that is none.
    """
    hashes = {path: _sha256(folder / path) for path in found.all_files}
    manifest: dict[str, Any] = {}
    for model, files in found.files.items():
        if MANIFEST in files:
            manifest = read_object(folder / model / MANIFEST, ModelError, "Get the model again.")
            _check_manifest(folder / model, manifest, hashes, model)
    first = next(iter(found.files))
    labels = read_dataset_json(folder / first / "dataset.json", ModelError, "Get the model again.")["labels"]
    checkpoints = {path.rpartition("/")[2] for files in found.files.values() for path in files if path.endswith(".pth")}
    best_alone = FINAL not in checkpoints and BEST in checkpoints
    return Installed(
        name=name,
        title=str(manifest.get("title", name)),
        origin=origin,
        sha256="",
        licence=str(manifest.get("licence") or NOT_STATED),
        citation=str(manifest.get("citation", "")),
        intended_use=str(manifest.get("intended_use", "not stated")),
        folders=list(found.files),
        files=hashes,
        checkpoint=str(manifest.get("checkpoint") or (BEST if best_alone else FINAL)),
        coarse_labels=[str(label) for label in manifest.get("coarse_labels") or ()],
        labels={str(key): value for key, value in labels.items() if type(value) is int and value > 0},
        orientation=manifest.get("orientation"),
        postprocessing=manifest.get("postprocessing"),
        installed=date.today().isoformat(),
    )


def _check_manifest(folder: Path, manifest: dict[str, Any], hashes: dict[str, str], model: str) -> None:
    told = manifest.get("files")
    if not isinstance(told, dict):
        raise ModelError(f"{folder / MANIFEST}: has no files. Delete it, or get the model again.")
    for path, expected in told.items():
        found = hashes.get(f"{model}/{path}")
        if found != expected:
            what = "is missing, but stands in" if found is None else "is not the file that is told of in"
            raise ModelError(f"{model}/{path}: {what} {MANIFEST}. Get the model again.")


def _as_catalogued(made: Installed, entry: Entry) -> Installed:
    """With what the catalogue knows of the model.

    Raises:
        ModelError: the zip holds another model than the catalogue says.
    """
    folders = made.folders
    if entry.folder is not None:
        if entry.folder not in folders:
            raise ModelError(
                f"{made.origin}: holds {', '.join(folders)}, not {entry.folder}, which the catalogue names. Install it "
                "by its address, if that is meant."
            )
        folders = [entry.folder]
    return replace(
        made,
        folders=folders,
        checkpoint=entry.checkpoint,
        labels=entry.labels or made.labels,
        coarse_labels=list(entry.coarse_labels),
        orientation=entry.orientation,
        postprocessing=entry.postprocessing,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
