"""One case of a derived dataset: read whole, check, prepare, write both files, record what was done. All or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray

from nnunet_kits import __version__
from nnunet_kits.cases.raw_dataset import Record, Workshop, output_paths, sizes_of, stamps_of
from nnunet_kits.derivation.label_change import LabelChange, relabelled
from nnunet_kits.derivation.masks import Mask
from nnunet_kits.derivation.record import grid_as_json
from nnunet_kits.errors import DerivationError, EmptyMaskError, ImageError, KitsError
from nnunet_kits.images import (
    AxisOrder,
    Grid,
    Volume,
    axis_order,
    check_same_grid,
    count_labels,
    read_ct,
    read_grid,
    read_integers,
    write_volume,
)
from nnunet_kits.preparation import Prepared, prepare
from nnunet_kits.preparation.preparation import Preparation

RECORD_FORMAT = 1
RECORDS = ".derivation"
"""Hidden folder in the dataset: one JSON per finished case, and the files in the making."""


@dataclass(frozen=True)
class Case:
    """One case of the source.

    Attributes:
        name: the same in both datasets.
        image: the CT.
        label: the label map; None for a test case.
        mask: what to crop to or multiply by; None for the case's own label map, or where none is needed.
    """

    name: str
    image: Path
    label: Path | None
    mask: Mask | None = None


@dataclass(frozen=True)
class Job:
    """What is the same for every case.

    Attributes:
        dataset: the derived dataset's folder, with its subfolders.
        preparation: of the scans.
        change: of the labels.
        reader: the class of nnU-Net that reads the source.
        asked: what of the rule and the masks decides over the files, as records keep it.
        whole_if_empty: take an empty mask for one of the whole scan.
    """

    dataset: Path
    preparation: Preparation
    change: LabelChange
    reader: str
    asked: Mapping[str, Any]
    whole_if_empty: bool = False


def workshop(dataset: Path) -> Workshop:
    """The hidden folder of a derived dataset."""
    return Workshop(dataset, RECORDS, DerivationError)


def request(job: Job, case: Case) -> Record:
    """What is asked for: a case is done when its record holds just this and its files are there.

    Raises:
        DerivationError: a source file that cannot be read.
    """
    sources = {"image": case.image, "label": case.label, "mask": None if case.mask is None else case.mask.path}
    there = {what: path for what, path in sources.items() if path is not None}
    return {**job.asked, "reader": job.reader, "sources": stamps_of(case.name, there, DerivationError)}


def derive_case(job: Job, case: Case) -> Record:
    """Derive one case and write its record.

    Both files are made in a staging folder and then renamed to their places, so that a case that fails leaves what was
    there before.

    Returns:
        The record.

    Raises:
        DerivationError: a bad or missing source file or mask, an empty mask, or a target that cannot be written; names
            the case.
    """
    room = workshop(job.dataset)
    with room.staging(case.name) as staging:
        try:
            return _derive(job, case, room, staging)
        except EmptyMaskError as error:
            whose = "its label map" if case.mask is None else f"the mask {case.mask.path}"
            raise DerivationError(
                f"{case.name}: {whose} is empty: nothing was found to crop to or to keep. "
                "Leave such cases out with --skip-bad, take them whole with --whole-volume-if-empty, or name other "
                "masks."
            ) from error
        except KitsError as error:
            raise DerivationError(f"{case.name}: {str(error).removeprefix(f'{case.name}: ')}") from error


def _derive(job: Job, case: Case, room: Workshop, staging: Path) -> Record:
    asked = request(job, case)
    image = read_ct(case.image)
    order = axis_order(job.reader, image.affine)
    assert order is not None  # the source's reader is known
    labels = None if case.label is None else _read_labels(job.change, case, image.grid, case.label)
    mask = None
    if job.preparation.needs_mask:
        mask = _mask(job.change, case, image.grid, order, labels)
        if job.whole_if_empty and not mask.any():
            mask = np.ones_like(mask)
    spacing = voxel_sizes(image.affine @ order.to_stored(order.as_read(image.array).shape))
    prepared = prepare(order.as_read(image.array), spacing, job.preparation, mask)
    affine = _affine(image.affine, order, prepared)
    source_grid = image.grid
    del image, mask
    image_path, label_path = output_paths(case.name, labels is not None)
    made = {image_path: staging / "image.nii.gz"}
    write_volume(made[image_path], order.as_stored(prepared.array), affine)
    counts: dict[str, int] = {}
    if labels is not None and label_path is not None:
        made = {label_path: staging / "label.nii.gz", **made}
        derived = prepared.placement.labels(order.as_read(relabelled(labels.array, job.change.table)))
        counts = count_labels(derived)
        write_volume(made[label_path], order.as_stored(derived), affine)
    stored = order.as_stored(prepared.array)
    record = {
        **asked,
        "case": case.name,
        "set": "test" if labels is None else "training",
        "source_grid": grid_as_json(source_grid),
        "placement": prepared.placement.as_json(),
        "grid": {"shape": list(stored.shape), "affine": affine.tolist()},
        "spacing_zyx_mm": list(prepared.spacing_zyx_mm),
        "voxels_per_label": counts,
        "outputs": sizes_of(made),
        "deriver": __version__,
    }
    return room.finish(case.name, made, record)


def _read_labels(change: LabelChange, case: Case, grid: Grid, path: Path) -> Volume:
    """A label map as uint8, on the grid of its CT, with no value that the dataset does not know."""
    check_same_grid(case.name, grid, read_grid(path))
    labels = read_integers(path, np.uint8)
    if labels is None:
        raise ImageError(
            f"{path}: holds values that are no integers of 0 to 255. The dataset knows {change.described}."
        )
    counts = count_labels(labels.array)
    foreign = [int(value) for value in counts if int(value) not in change.known]
    if foreign:
        raise ImageError(
            f"{path}: holds {foreign[0]} ({counts[str(foreign[0])]} voxels), but the dataset's labels are "
            f"{change.described}. Correct its dataset.json, or convert it again."
        )
    return labels


def _mask(change: LabelChange, case: Case, grid: Grid, order: AxisOrder, labels: Volume | None) -> NDArray[np.bool_]:
    """The case's mask as the reader gives the scan: a coarse model's, or the foreground of its own label map."""
    if case.mask is not None:
        return case.mask.read(grid, order)
    assert labels is not None  # cases without both are left out
    return order.as_read(change.foreground(labels.array))


def _affine(source: NDArray[np.float64], order: AxisOrder, prepared: Prepared) -> NDArray[np.float64]:
    """(4, 4) of the derived file: its voxels' middles lie where they were in the source."""
    placement = prepared.placement
    to_source = order.to_stored(placement.source_shape) @ placement.to_source()
    found: NDArray[np.float64] = source @ to_source @ np.linalg.inv(order.to_stored(placement.shape))
    return found
