"""One case: read whole, check, write both files, record what was done. All or nothing."""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from nnunet_kits import __version__
from nnunet_kits.cases.raw_dataset import Record, Workshop, output_paths, reason, sizes_of, stamps_of
from nnunet_kits.conversion.cases import Case
from nnunet_kits.errors import ConversionError, ImageError
from nnunet_kits.images import Grid, Volume, check_same_grid, count_labels, read_grid, read_integers, write_volume
from nnunet_kits.labels import Label
from nnunet_kits.releases import Release, editions_that_label, either

MODES = ("compact", "copy", "hardlink", "symlink")
RECORD_FORMAT = 1
RECORDS = ".conversion"
"""Hidden folder in the dataset: one JSON per finished case, and the files in the making."""


def workshop(dataset: Path) -> Workshop:
    """The hidden folder of a converted dataset."""
    return Workshop(dataset, RECORDS, ConversionError)


def request(release: Release, case: Case, aggregation: str | None, mode: str) -> Record:
    """What is asked for: a case is done when its record holds just this and its files are there.

    Raises:
        ConversionError: a source file that cannot be read.
    """
    sources = {"image": case.image, **({} if case.label is None else {"label": case.label})}
    return {
        "format": RECORD_FORMAT,
        "edition": release.edition,
        "aggregation": aggregation,
        "mode": mode,
        "sources": stamps_of(case.name, sources, ConversionError),
    }


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
    room = workshop(dataset)
    with room.staging(case.name) as staging:
        return _convert(release, case, request(release, case, aggregation, mode), room, staging)


def _convert(release: Release, case: Case, asked: Record, room: Workshop, staging: Path) -> Record:
    grid = read_grid(case.image)
    outputs: dict[str, Path] = {}
    image_path, label_path = output_paths(case.name, case.label is not None)
    counts: dict[str, int] = {}
    if case.label is not None and label_path is not None:
        check_same_grid(case.name, grid, read_grid(case.label))
        label = _read_labels(release, case.label)
        counts = count_labels(label.array)
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
        "outputs": sizes_of(outputs),
        "converter": __version__,
    }
    return room.finish(case.name, outputs, record)


def _read_labels(release: Release, path: Path) -> Volume:
    """The label map as uint8, whatever it was stored as."""
    label = read_integers(path, np.uint8)
    if label is None:
        raise ImageError(
            f"{path}: the label map holds values that are no integers of 0 to 255. "
            f"{release.edition} knows {_allowed(release)}."
        )
    return label


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
        try:
            target.symlink_to(source.resolve())
        except OSError as error:
            raise ImageError(
                f"{source} cannot be linked to from {target.parents[1]} ({reason(error)}): this user or the file "
                "system makes no links. Use --mode compact, copy or hardlink."
            ) from error
    elif mode == "hardlink":
        try:
            os.link(source.resolve(), target)
        except OSError as error:
            raise ImageError(
                f"{source} cannot be hard-linked to {target.parents[1]} ({reason(error)}): "
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
