"""Cases of a nnU-Net raw dataset in the making: each is written whole or not at all, and leaves a record.

A dataset that we make has a hidden folder with one JSON per finished case and, while it is made, the files in the
making. A case is done when its record says what is asked for and its files are there.
"""

import errno
import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import write_text
from nnunet_kits.cases.records import read_record, stamp
from nnunet_kits.errors import ImageError, KitsError

Record = dict[str, Any]
"""What is kept of a case: JSON, with ``outputs`` (path in the dataset -> bytes) among it."""


def output_paths(name: str, training: bool) -> tuple[str, str | None]:
    """Where nnU-Net looks for a case's image and label map, relative to the dataset folder."""
    if training:
        return f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"
    return f"imagesTs/{name}_0000.nii.gz", None


@dataclass(frozen=True)
class Workshop:
    """The hidden folder of a dataset.

    Attributes:
        dataset: ``DatasetNNN_Name`` folder, with its subfolders.
        records: name of the hidden folder in it.
        error: raised for what goes wrong; its message names the case.
    """

    dataset: Path
    records: str
    error: type[KitsError]

    def record_path(self, name: str) -> Path:
        """Where a case's record is kept."""
        return self.dataset / self.records / f"{name}.json"

    def finished(self, name: str) -> Record | None:
        """The record of a finished case; None where there is none, or where one of its files is gone or changed."""
        record = read_record(self.record_path(name))
        outputs = None if record is None else record.get("outputs")
        if not isinstance(outputs, dict):
            return None
        return record if all(stamp(self.dataset / path)[0] == size for path, size in outputs.items()) else None

    def all_finished(self) -> dict[str, Record]:
        """Case -> record, for all cases whose files are whole, in the order of their names."""
        names = sorted(path.stem for path in (self.dataset / self.records).glob("*.json"))
        return {name: record for name in names if (record := self.finished(name)) is not None}

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """A folder for the files of a case in the making; what killed runs left of the case is deleted first.

        Raises:
            KitsError: of the workshop's type, for an ImageError, an OSError, or too little memory in the block.
        """
        folder = self.dataset / self.records / f"{name}.{os.getpid()}.staging"
        try:
            for left_over in folder.parent.glob(f"{glob.escape(name)}.*.staging"):
                if left_over.name.removeprefix(f"{name}.").removesuffix(".staging").isdecimal():  # no other case's
                    shutil.rmtree(left_over)
            folder.mkdir()
            yield folder
        except ImageError as error:
            raise self.error(f"{name}: {str(error).removeprefix(f'{name}: ')}") from error
        except MemoryError as error:
            raise self.error(f"{name}: not enough memory. Use fewer workers (-np), or free some.") from error
        except OSError as error:
            raise self.error(f"{name}: cannot write into {self.dataset} ({reason(error)}).") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self, name: str, made: Mapping[str, Path], record: Record) -> Record:
        """Move the files of a case to their places, and write its record: last, so that it is true.

        Args:
            name: of the case.
            made: path in the dataset -> file in the staging folder.
            record: what is kept of the case, with :func:`sizes_of` the files as ``outputs``.

        Returns:
            The record.
        """
        self.record_path(name).unlink(missing_ok=True)
        for path, file in made.items():
            os.replace(file, self.dataset / path)
        write_json(self.record_path(name), record)
        return record

    def remove(self, name: str) -> None:
        """Delete what was made of one case; the record goes first."""
        self.record_path(name).unlink(missing_ok=True)
        for path in (*output_paths(name, True), *output_paths(name, False)):
            if path is not None:
                (self.dataset / path).unlink(missing_ok=True)

    def remove_left_overs(self) -> None:
        """Delete what killed runs left in the making."""
        for left_over in (self.dataset / self.records).glob("*.staging"):
            shutil.rmtree(left_over, ignore_errors=True)


def stamps_of(case: str, files: Mapping[str, Path], error: type[KitsError]) -> dict[str, Record]:
    """Path, size and time of the source files of a case, as records keep them.

    Raises:
        KitsError: a file that cannot be read.
    """
    try:
        facts = {what: (path.resolve(), path.stat()) for what, path in files.items()}
    except OSError as fault:
        raise error(f"{case}: {fault.filename} cannot be read ({fault.strerror}).") from fault
    return {
        what: {"path": str(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        for what, (path, stat) in facts.items()
    }


def sizes_of(made: Mapping[str, Path]) -> dict[str, int]:
    """Path in the dataset -> bytes of the file that was made for it."""
    return {path: file.stat().st_size for path, file in made.items()}


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically, one item a line."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def reason(error: OSError) -> str:
    """What the system says, and what helps against it."""
    advice = {
        errno.ENOSPC: ": free some space and run the same command again",
        errno.EDQUOT: ": free some space and run the same command again",
        errno.EROFS: ": set nnUNet_raw to a folder you may write to",
        errno.EACCES: ": set nnUNet_raw to a folder you may write to",
    }
    return f"{error.strerror or error}{advice.get(error.errno or 0, '')}"
