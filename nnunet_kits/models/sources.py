"""Where the bytes of a model are: a DOI or a URL, resolved to an address, a checksum, a size and a licence."""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from nnunet_kits.errors import ModelError
from nnunet_kits.models.catalogue import Source

TIMEOUT_S = 30
NOT_STATED = "not stated: ask whoever published it"


@dataclass(frozen=True)
class Remote:
    """A zip that can be downloaded.

    Attributes:
        url: its address.
        name: its file's name.
        origin: as a user would say it: the DOI, or the address.
        checksum: ``md5:...`` or ``sha256:...``; None where nobody says one.
        bytes: its size; None where nobody says it before.
        licence: as its record states it.
        citation: authors, title, year and DOI, as its record states them.
    """

    url: str
    name: str
    origin: str
    checksum: str | None = None
    bytes: int | None = None
    licence: str = NOT_STATED
    citation: str = ""


def source_of(text: str) -> Source | None:
    """A DOI or URL as somebody types it; None for anything else."""
    for prefix in ("doi:", "https://doi.org/", "http://doi.org/"):
        if text.startswith(prefix):
            return Source(doi=text.removeprefix(prefix))
    if text.startswith("10.") and "/" in text:
        return Source(doi=text)
    return Source(url=text) if text.startswith(("https://", "http://")) else None


def find_remote(source: Source) -> Remote:
    """Where a model's zip can be downloaded.

    Raises:
        ModelError: the DOI leads to no archive that pooch reads, or to several zips or none.
    """
    if source.doi is None:
        url = str(source.url)
        name = unquote(PurePosixPath(urlsplit(url).path).name) or "model.zip"
        return Remote(url, name, url, source.checksum, source.bytes)
    return _in_archive(source.doi, source)


def _in_archive(doi: str, source: Source) -> Remote:
    """The zip of a record, by pooch."""
    import pooch
    import requests
    from pooch.downloaders import doi_to_repository

    doi, _, named = _split(doi)
    try:
        repository = doi_to_repository(doi, timeout=TIMEOUT_S)
        files = pooch.create(path="", base_url="", registry=None)
        repository.populate_registry(files)
        name = _choose(doi, sorted(files.registry), source.file or named)
        url, record = str(repository.download_url(name)), getattr(repository, "api_response", None)
    except ModelError:
        raise
    except (requests.RequestException, OSError) as error:
        raise ModelError(
            f"doi:{doi}: cannot be asked for its files ({type(error).__name__}). Connect to the network, or download "
            "the zip elsewhere and use nnunet_kits models import ZIP."
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
        raise ModelError(f"doi:{doi}: leads to no archive of files that can be read ({_short(error)}).") from error
    size = next(
        (entry.get("size") for entry in _files(record) if name in (entry.get("key"), entry.get("filename"))), None
    )
    checksum = files.registry[name] or source.checksum
    licence, citation = _told(record, doi)
    return Remote(url, name, f"doi:{doi}", checksum, size or source.bytes, licence, citation)


def _split(doi: str) -> tuple[str, str, str | None]:
    """``10.5281/zenodo.1`` or ``10.5281/zenodo.1/file.zip``."""
    parts = doi.strip("/").split("/", 2)
    return "/".join(parts[:2]), "/", parts[2] if len(parts) == 3 else None


def _choose(doi: str, names: list[str], wanted: str | None) -> str:
    """The one zip that is meant."""
    if wanted is not None:
        if wanted not in names:
            raise ModelError(f"doi:{doi}: holds no {wanted}, but {', '.join(names) or 'nothing'}.")
        return wanted
    zips = [name for name in names if name.lower().endswith(".zip")]
    if len(zips) != 1:
        raise ModelError(f"doi:{doi}: holds {', '.join(names) or 'nothing'}. Name the zip: doi:{doi}/FILE.zip.")
    return zips[0]


def _files(record: Any) -> list[dict[str, Any]]:
    found = record.get("files") if isinstance(record, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _told(record: Any, doi: str) -> tuple[str, str]:
    """Licence and citation of a record of Zenodo; what it does not state is left out."""
    metadata = record.get("metadata", {}) if isinstance(record, dict) else {}
    if not isinstance(metadata, dict):
        metadata = {}
    licence = metadata.get("license")
    name = licence.get("id") if isinstance(licence, dict) else licence
    people = metadata.get("creators")
    names = [str(one.get("name")) for one in people if isinstance(one, dict)] if isinstance(people, list) else []
    year = str(metadata.get("publication_date", ""))[:4]
    told = [", ".join(names), str(metadata.get("title", "")), year, f"https://doi.org/{doi}"]
    return str(name) if name else NOT_STATED, ". ".join(part for part in told if part)


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
