"""Where installed models lie, and what is known of each.

``NNUNET_KITS_MODELS/<name>/`` holds ``DatasetNNN_Name/<trainer>__<plans>__<configuration>/`` as nnU-Net's results
folder does, so that ``nnUNet_results=NNUNET_KITS_MODELS/<name>`` gives the model to stock commands, and ``model.json``.
"""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.errors import ModelError
from nnunet_kits.model_folder import FINAL, ModelFolder

VARIABLE = "NNUNET_KITS_MODELS"
RECORD = "model.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Installed:
    """What ``model.json`` says of an installed model.

    Attributes:
        name: by which verbs know it.
        title: for people.
        origin: DOI, URL or file that it came from.
        sha256: of the zip; empty where it came as a folder.
        licence: under what it may be used.
        citation: what to cite.
        intended_use: by its authors.
        folders: its model folders, relative to that of ``model.json``.
        files: relative path -> SHA-256, of all its files.
        checkpoint: the file that predicts.
        labels: name -> value.
        coarse_labels: those that together are the kidneys.
        orientation: of the scans it was trained on, or None.
        postprocessing: a chain for its label maps, or None.
        installed: date.
    """

    name: str
    title: str
    origin: str
    sha256: str
    licence: str
    citation: str
    intended_use: str
    folders: list[str]
    files: dict[str, str]
    checkpoint: str = FINAL
    labels: dict[str, int] = field(default_factory=dict)
    coarse_labels: list[str] = field(default_factory=list)
    orientation: str | None = None
    postprocessing: str | None = None
    installed: str = ""

    @property
    def place(self) -> Path:
        """The folder that holds it."""
        return models_folder() / self.name

    @property
    def paths(self) -> list[Path]:
        """Its model folders."""
        return [self.place / folder for folder in self.folders]

    def write(self, place: Path) -> None:
        """Write ``model.json`` into a folder."""
        write_text(place / RECORD, json.dumps(asdict(self), indent=2, ensure_ascii=False))


def models_folder() -> Path:
    """Where models are installed: ``NNUNET_KITS_MODELS``, or this user's cache folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser().resolve()
    from platformdirs import user_cache_path

    return user_cache_path("nnunet_kits") / "models"


def check_name(name: str) -> str:
    """A name that may be given to a model.

    Raises:
        ModelError: it could not be a folder's.
    """
    if not NAME.fullmatch(name) or name.endswith((".pth", ".json", ".zip")):
        raise ModelError(f"{name!r} cannot name a model: letters, digits, dots, dashes, underscores, 64 at most.")
    return name


def installed_names() -> list[str]:
    """Names of the installed models."""
    names = (file.parent.name for file in models_folder().glob(f"*/{RECORD}"))
    return sorted(name for name in names if NAME.fullmatch(name))


def installed(name: str) -> Installed | None:
    """What is known of an installed model; None where there is none of that name.

    Raises:
        ModelError: its ``model.json`` is damaged.
    """
    file = models_folder() / name / RECORD
    if not NAME.fullmatch(name) or not file.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        found = Installed(**content)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file}: is damaged ({error}). Delete {file.parent} and install the model again.") from error
    if found.name != name or not all(ModelFolder.at(path) for path in found.paths):
        raise ModelError(f"{file}: is of another model. Delete {file.parent} and install the model again.")
    return found


def installed_with(path: Path) -> Installed | None:
    """The installed model that a model folder belongs to; None for a folder from elsewhere."""
    place = path.resolve().parent.parent
    return installed(place.name) if place.parent == models_folder() else None
