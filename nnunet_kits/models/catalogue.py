"""The catalogue: models that others have published, a JSON file each in ``entries/``."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nnunet_kits.complaints import complaint
from nnunet_kits.errors import ModelError
from nnunet_kits.model_folder import FINAL
from nnunet_kits.shipped import read_shipped, shipped_names

ENTRIES_FOLDER = Path(__file__).parent / "entries"


class Table(BaseModel):
    """A table of an entry: nothing in it can be changed, and no key is taken that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(Table):
    """Where a model's zip lies.

    Attributes:
        doi: of a record of Zenodo, or another archive that pooch reads; it tells the checksum.
        url: of the zip, where there is no DOI.
        file: the zip's name in the record; None where it holds one zip alone.
        bytes: size of the zip, where it is known.
        checksum: ``sha256:...`` or ``md5:...``, where it is known.
    """

    doi: str | None = None
    url: str | None = None
    file: str | None = None
    bytes: int | None = None
    checksum: str | None = None


class Licence(Table):
    """Under what a model may be used.

    Attributes:
        name: of the licence; None where only its source states it.
        note: what else to know.
    """

    name: str | None = None
    note: str = ""


class Entry(Table):
    """A published model.

    Attributes:
        title: what its authors call it.
        summary: one sentence.
        role: ``fine`` labels kidneys and what is in them; ``coarse`` finds the kidneys for another model.
        source: where its zip lies.
        licence: under what it may be used.
        citation: what to cite.
        intended_use: by its authors' words.
        folder: ``DatasetNNN_Name/<trainer>__<plans>__<configuration>`` in the zip.
        checkpoint: file in the folds' folders that its authors predict with.
        labels: name -> value; of a model of many organs only those that matter here.
        coarse_labels: those that together are the kidneys and what grows in them.
        orientation: to which axes its scans were turned for training, such as ``RAS`` (right, anterior, superior);
            None where they lie as their files do.
        postprocessing: a chain of ours that does what its authors do to its label maps.
        refused: why it cannot be used; None where it can.
        unverified: what of all this has been read nowhere but guessed, or could not be checked.
    """

    title: str
    summary: str
    role: Literal["fine", "coarse"]
    source: Source
    licence: Licence
    citation: str
    intended_use: str
    folder: str | None = None
    checkpoint: str = FINAL
    labels: dict[str, int] = Field(default_factory=dict)
    coarse_labels: tuple[str, ...] = Field(default=(), strict=False)
    orientation: str | None = Field(default=None, pattern="^[LR][AP][IS]$")
    postprocessing: str | None = None
    refused: str | None = None
    unverified: tuple[str, ...] = Field(default=(), strict=False)


def entry_names() -> list[str]:
    """Names of the catalogue's models."""
    return shipped_names(ENTRIES_FOLDER)


def load_entry(name_or_file: str) -> Entry:
    """A model of the catalogue by its name, or one from a JSON file.

    Raises:
        ModelError: no such model, or a file that is no entry.
    """
    path, content = read_shipped(name_or_file, ENTRIES_FOLDER, "model", ModelError)
    try:
        return Entry.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{path}: {complaint(Entry, error)}") from error
