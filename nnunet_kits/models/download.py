"""Downloads that go on where they were cut, and are what their checksum says.

pooch starts a cut download anew. A model is some hundred megabytes to gigabytes and a line may be slow, so this asks
the server for the rest only (HTTP ranges), as long as the file there is still the same.
"""

import errno
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.errors import ModelError
from nnunet_kits.models.sources import Remote

logger = logging.getLogger(__name__)

ATTEMPTS = 5
"""Connections in turn that break before anything comes: then the user is told."""

TIMEOUT_S = (30, 60)
"""To connect, and between two pieces."""

PIECE = 1 << 16
"""Of what came before a cut, less than this is lost."""

SPARE_BYTES = 200_000_000
"""Free space that is left alone."""

UNPACKED = 2.2
"""A zip of weights, and what is in it, which hardly packs: together that many times the zip."""


def download(remote: Remote, folder: Path, progress: Callable[[int, int | None], None] = lambda *_: None) -> Path:
    """Download a zip, or the rest of it, and verify it.

    Args:
        remote: what to download.
        folder: where to; what of it is there already is kept.
        progress: told how many bytes are there, and how many there will be.

    Returns:
        The zip.

    Raises:
        ModelError: no space, a connection that breaks again and again, an address that gives no zip, or bytes that are
            not what the checksum says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{re.sub(r'[^A-Za-z0-9._-]', '_', remote.name)[-100:]}.part"
    state = _Partial(part, remote.url)
    failures = 0
    while True:
        before = state.there
        try:
            _fetch(remote, state, progress)
            break
        except _CutError as error:
            failures = 1 if state.there > before else failures + 1
            if failures >= ATTEMPTS:
                if state.there == 0:
                    raise ModelError(
                        f"{remote.url}: nothing came ({error}). Connect to the network, or download the zip elsewhere "
                        "and use nnunet_kits models import ZIP."
                    ) from error
                of = f" of {state.total / 1e6:.1f}" if state.total else ""
                raise ModelError(
                    f"{remote.url}: the connection broke after {state.there / 1e6:.1f}{of} MB ({error}). What is there "
                    "is kept: run the same command again to go on."
                ) from error
            if state.there > before:
                logger.info(f"The connection broke after {state.there / 1e6:.1f} MB; going on.")
    return _verified(remote, state)


class _CutError(Exception):
    """A connection that broke."""


class _Partial:
    """What is there of a download, and of which version of the file."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        self.notes = path.with_name(path.name + ".json")
        self.version: str | None = None
        self.total: int | None = None
        try:
            known = json.loads(self.notes.read_text(encoding="utf-8"))
            if known.get("url") == url:
                self.version, self.total = known.get("version"), known.get("total")
        except (OSError, ValueError, AttributeError):
            pass
        if self.version is None:
            self.begin_anew()

    @property
    def there(self) -> int:
        """Bytes."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def begin_anew(self) -> None:
        """Forget what is there."""
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        self.version = self.total = None

    def note(self, version: str | None, total: int | None) -> None:
        """Remember of which version the bytes are."""
        self.version, self.total = version, total
        if version is not None:
            write_text(self.notes, json.dumps({"url": self.url, "version": version, "total": total}))


def _fetch(remote: Remote, state: _Partial, progress: Callable[[int, int | None], None]) -> None:
    """Ask for what is missing, once."""
    import requests

    there = state.there
    if there and state.total == there:
        return
    headers = {"Accept-Encoding": "identity", "User-Agent": "nnunet_kits"}
    if there and state.version:
        headers |= {"Range": f"bytes={there}-", "If-Range": state.version}
    try:
        with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            _check_answer(remote, answer)
            if answer.status_code == 206 and _begins_at(answer) == there:
                total = _whole_size(answer)
            else:
                state.begin_anew()
                there, total = 0, _length(answer)
            state.note(answer.headers.get("ETag") or answer.headers.get("Last-Modified"), total)
            _check_size(remote, total)
            _check_space(remote, state, total or remote.bytes)
            _receive(remote, state, answer, progress)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _CutError(type(error).__name__) from error
    except requests.RequestException as error:
        raise ModelError(f"{remote.url}: cannot be downloaded ({type(error).__name__}).") from error
    if state.total is not None and state.there < state.total:
        raise _CutError("the server closed it")


def _receive(remote: Remote, state: _Partial, answer: Any, progress: Callable[[int, int | None], None]) -> None:
    """Write what comes to the end of what is there."""
    with state.path.open("ab") as file:
        for piece in answer.iter_content(PIECE):
            if file.tell() == 0 and not piece.startswith(b"PK"):
                raise _no_zip(remote, answer)
            try:
                file.write(piece)
                file.flush()
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise ModelError(
                    f"{state.path}: the disk is full. Make room and run the same command again to go on."
                ) from error
            progress(file.tell(), state.total)


def _check_answer(remote: Remote, answer: Any) -> None:
    """Refuse an answer that is no file."""
    if remote.url.startswith("https://") and not answer.url.startswith("https://"):
        raise ModelError(f"{remote.url}: leads to {answer.url}, which is not encrypted. Download it by another way.")
    if answer.status_code >= 500 or answer.status_code == 429:
        raise _CutError(f"the server answers {answer.status_code} {answer.reason}")
    if answer.status_code not in (200, 206):
        raise ModelError(f"{remote.url}: the server answers {answer.status_code} {answer.reason}. Check the address.")
    if answer.headers.get("Content-Type", "").startswith("text/"):
        raise _no_zip(remote, answer)


def _no_zip(remote: Remote, answer: Any) -> ModelError:
    kind = answer.headers.get("Content-Type", "no type")
    return ModelError(
        f"{remote.url}: a page or another file ({kind}) came in place of a zip: the address may want a login, or have "
        "moved. Open it in a browser, and use nnunet_kits models import ZIP."
    )


def _check_size(remote: Remote, total: int | None) -> None:
    if remote.bytes is not None and total is not None and total != remote.bytes:
        raise ModelError(
            f"{remote.url}: has {total} bytes, but {remote.bytes} are known for it: another file lies there now. "
            "Download it by its address if that is meant."
        )


def _check_space(remote: Remote, state: _Partial, total: int | None) -> None:
    """Refuse to begin what the disk cannot hold, unpacked."""
    if total is None:
        return
    needed = int(total * UNPACKED) - state.there + SPARE_BYTES
    free = shutil.disk_usage(state.path.parent).free
    if free < needed:
        raise ModelError(
            f"{state.path.parent}: has {free / 1e9:.2f} GB free, but {remote.name} needs {needed / 1e9:.2f} GB, "
            "unpacked and with some room. Make room, or set NNUNET_KITS_MODELS to a folder on another disk."
        )


def _verified(remote: Remote, state: _Partial) -> Path:
    """The whole file under its name, if it is what its checksum says."""
    import pooch

    if remote.checksum is not None:
        algorithm, _, expected = remote.checksum.rpartition(":")
        found = pooch.file_hash(str(state.path), alg=algorithm or "sha256")
        if found != expected.lower():
            state.begin_anew()
            raise ModelError(
                f"{remote.url}: the {algorithm or 'sha256'} of what came is {found}, not {expected}: it was damaged on "
                "the way, or changed. It is deleted; run the same command again."
            )
    path = state.path.with_suffix("")
    state.path.replace(path)
    state.notes.unlink(missing_ok=True)
    return path


def _length(answer: Any) -> int | None:
    given = answer.headers.get("Content-Length", "")
    return int(given) if given.isdecimal() else None


def _begins_at(answer: Any) -> int | None:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _whole_size(answer: Any) -> int | None:
    found = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None
