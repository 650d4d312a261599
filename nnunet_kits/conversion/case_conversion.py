"""One case: read whole, check, write both files, record what was done. All or nothing."""

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits import __version__
from nnunet_kits.atomic import write_text
from nnunet_kits.cases import records
from nnunet_kits.cases.records import stamp
from nnunet_kits.conversion.cases import Case
from nnunet_kits.errors import ConversionError, ImageError
from nnunet_kits.images import Grid, Volume, check_same_grid, read_grid, read_integers, write_volume
from nnunet_kits.labels import Label
from nnunet_kits.releases import Release, editions_that_label, either

MODES = ("compact", "copy", "hardlink", "symlink")
RECORD_FORMAT = 1
RECORDS = ".conversion"
"""Hidden folder in the dataset: one JSON per finished case, and the files in the making."""

Record = dict[str, Any]


def request(release: Release, case: Case, aggregation: str | None, mode: str) -> Record:
    """What is asked for: a case is done when its record holds just this and its files are there.

    Raises:
        ConversionError: a source file that cannot be read.
    """
    sources = {"image": case.image, **({} if case.label is None else {"label": case.label})}
    try:
        facts = {what: (path.resolve(), path.stat()) for what, path in sources.items()}
    except OSError as error:
        raise ConversionError(f"{case.name}: {error.filename} cannot be read ({error.strerror}).") from error
    return {
        "format": RECORD_FORMAT,
        "edition": release.edition,
        "aggregation": aggregation,
        "mode": mode,
        "sources": {
            what: {"path": str(path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            for what, (path, stat) in facts.items()
        },
    }


def read_record(dataset: Path, name: str) -> Record | None:
    """The record of a finished case; None where there is none, or where one of its files is gone or changed."""
    record = records.read_record(dataset / RECORDS / f"{name}.json")
    outputs = None if record is None else record.get("outputs")
    if not isinstance(outputs, dict):
        return None
    return record if all(stamp(dataset / path)[0] == size for path, size in outputs.items()) else None


def output_paths(name: str, training: bool) -> tuple[str, str | None]:
    """Where nnU-Net looks for a case's image and label map, relative to the dataset folder."""
    if training:
        return f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"
    return f"imagesTs/{name}_0000.nii.gz", None


def convert_case(release: Release, aggregation: str | None, mode: str, dataset: Path, case: Case) -> Record:
    """Convert one case and write its record.

    Both files are made in a staging folder and then renamed to their places, so that a case that fails leaves what was
    there before.

    Args:
        release: the year.
        aggregation: which of KiTS21's label maps; only recorded here.
        mode: one of :data:`MODES`.
        dataset: ``DatasetNNN_*`` folder, with its subfolders.
        case: the source files.

    Returns:
        The record.

    Raises:
        ConversionError: a bad or missing source file, or a target that cannot be written; names the case.
    """
    staging = dataset / RECORDS / f"{case.name}.{os.getpid()}.staging"
    try:
        for left_over in staging.parent.glob(f"{case.name}.*.staging"):
            shutil.rmtree(left_over)
        staging.mkdir()
        return _convert(release, case, request(release, case, aggregation, mode), dataset, staging)
    except ImageError as error:
        raise ConversionError(f"{case.name}: {str(error).removeprefix(f'{case.name}: ')}") from error
    except MemoryError as error:
        raise ConversionError(f"{case.name}: not enough memory. Use fewer workers (-np), or free some.") from error
    except OSError as error:
        raise ConversionError(f"{case.name}: cannot write into {dataset} ({_reason(error)}).") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _convert(release: Release, case: Case, asked: Record, dataset: Path, staging: Path) -> Record:
    grid = read_grid(case.image)
    outputs: dict[str, Path] = {}
    image_path, label_path = output_paths(case.name, case.label is not None)
    counts: dict[str, int] = {}
    if case.label is not None and label_path is not None:
        check_same_grid(case.name, grid, read_grid(case.label))
        label = _read_labels(release, case.label)
        counts = _count(label.array)
        _check_labels(release, counts)
        outputs[label_path] = staging / "label.nii.gz"
        write_volume(outputs[label_path], label.array, grid.affine)
        del label
    outputs[image_path] = staging / "image.nii.gz"
    stored = _write_image(case.image, grid, asked["mode"], outputs[image_path])
    record = {
        **asked,
        "case": case.name,
        "set": "test" if case.label is None else "training",
        "sha256": {what: _sha256(Path(source["path"])) for what, source in asked["sources"].items()},
        "stored": stored,
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing_mm),
        "affine": grid.affine.tolist(),
        "voxels_per_label": counts,
        "outputs": {path: made.stat().st_size for path, made in outputs.items()},
        "converter": __version__,
    }
    record_path = dataset / RECORDS / f"{case.name}.json"
    record_path.unlink(missing_ok=True)
    for path, made in outputs.items():
        os.replace(made, dataset / path)
    write_json(record_path, record)
    return record


def _read_labels(release: Release, path: Path) -> Volume:
    """The label map as uint8, whatever it was stored as."""
    label = read_integers(path, np.uint8)
    if label is None:
        raise ImageError(
            f"{path}: the label map holds values that are no integers of 0 to 255. "
            f"{release.edition} knows {_allowed(release)}."
        )
    return label


def _count(labels: NDArray[np.generic]) -> dict[str, int]:
    """Label value -> voxels, for the values that occur; piecewise, because bincount widens to 8 bytes a voxel."""
    flat = labels.reshape(-1, order="F")
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, flat.size, 1 << 20):
        counts += np.bincount(flat[start : start + (1 << 20)], minlength=256)
    return {str(value): int(counts[value]) for value in np.flatnonzero(counts)}


def _check_labels(release: Release, counts: dict[str, int]) -> None:
    wrong = sorted({int(value) for value in counts} - {0, *release.labels})
    if wrong:
        known = editions_that_label(Label.CYST)
        hint = f" A cyst label means {either(known)}: wrong --year?" if wrong == [Label.CYST] else ""
        found = ", ".join(f"{value} ({counts[str(value)]} voxels)" for value in wrong)
        raise ImageError(f"the label map holds {found}, but {release.edition} knows only {_allowed(release)}.{hint}")


def _allowed(release: Release) -> str:
    return ", ".join(f"{int(label)} {label.name.lower()}" for label in (Label.BACKGROUND, *release.labels))


def _write_image(source: Path, grid: Grid, mode: str, target: Path) -> str:
    """Check the image whole, then write, copy or link it; returns how the voxels are stored now."""
    volume = read_integers(source, np.int16)
    if mode == "compact" and volume is not None:
        write_volume(target, volume.array, volume.affine)
        return "int16"
    del volume
    if mode == "symlink":
        target.symlink_to(source.resolve())
    elif mode == "hardlink":
        try:
            os.link(source.resolve(), target)
        except OSError as error:
            raise ImageError(
                f"{source} cannot be hard-linked to {target.parents[1]} ({_reason(error)}): "
                "both must lie in one file system that has hard links. Use --mode compact, copy or symlink."
            ) from error
    else:
        shutil.copyfile(source, target)
    return str(grid.dtype)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _reason(error: OSError) -> str:
    advice = {
        errno.ENOSPC: ": free some space and run the same command again",
        errno.EDQUOT: ": free some space and run the same command again",
        errno.EROFS: ": set nnUNet_raw to a folder you may write to",
        errno.EACCES: ": set nnUNet_raw to a folder you may write to",
    }
    return f"{error.strerror or error}{advice.get(error.errno or 0, '')}"


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically, one item a line."""
    write_text(path, json.dumps(content, indent=1) + "\n")
