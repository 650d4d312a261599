"""The raw dataset that another one is derived from: its cases, labels, reader and folds."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.cases.finding import CHANNEL, ENDINGS, find_label_maps, find_scans, flat_files
from nnunet_kits.cases.splits import SPLITS_FILE, Split, read_splits
from nnunet_kits.derivation.label_change import SourceLabels
from nnunet_kits.environment import find_dataset
from nnunet_kits.errors import DerivationError
from nnunet_kits.images.readers import READERS
from nnunet_kits.nnunet_files import read_dataset_json

DEFAULT_READER = "SimpleITKIO"
"""What nnU-Net reads NIfTI files with where dataset.json names nothing."""


@dataclass(frozen=True)
class Source:
    """A raw dataset of nnU-Net.

    Attributes:
        folder: ``DatasetNNN_Name``.
        content: its dataset.json.
        labels: what its label maps hold.
        reader: the class of nnU-Net that reads its files.
        training: case -> image and label map.
        test: case -> image.
        splits: what splits_final.json says; None where there is none.
    """

    folder: Path
    content: Mapping[str, Any]
    labels: SourceLabels
    reader: str
    training: Mapping[str, tuple[Path, Path]]
    test: Mapping[str, Path]
    splits: list[Split] | None


def open_source(raw: Path, dataset_id: int) -> Source:
    """Look a dataset up by its number, and list its cases.

    Raises:
        DerivationError: no such dataset, or one that is not of CTs in NIfTI files, one channel each.
        ImageError: two files of one case.
    """
    folder = find_dataset(raw, dataset_id)
    if folder is None:
        raise DerivationError(
            f"{raw}: no Dataset{dataset_id:03d}_* here. Name a converted dataset with -d, or set nnUNet_raw."
        )
    content = _dataset_json(folder)
    reader = str(content.get("overwrite_image_reader_writer") or DEFAULT_READER)
    if reader not in READERS:
        raise DerivationError(
            f"{folder / 'dataset.json'}: its images are read with {reader}, which turns axes in a way that is not "
            f"known here. Known: {', '.join(READERS)}."
        )
    training = _paired(folder)
    images = folder / "imagesTs"
    test = find_scans(images) if flat_files(images) else {}
    both = sorted(set(training) & set(test))
    if both:
        raise DerivationError(f"{folder}: {both[0]} is both in imagesTr and in imagesTs. Remove it from one of them.")
    return Source(folder, content, SourceLabels.of(content, str(folder)), reader, training, test, _splits(folder))


def _dataset_json(folder: Path) -> dict[str, Any]:
    """dataset.json, where it describes what can be derived from."""
    path = folder / "dataset.json"
    content = read_dataset_json(path, DerivationError, "Is the conversion finished?", ("file_ending",))
    if content["file_ending"] not in ENDINGS:
        given = content["file_ending"]
        raise DerivationError(f"{path}: file_ending is {given!r}. Only {' and '.join(ENDINGS)} can be derived from.")
    channels = content.get("channel_names", {})
    if len(channels) != 1 or "dataset" in content:
        raise DerivationError(
            f"{path}: only CTs of one channel that lie in imagesTr can be derived from, but it has the channels "
            f"{channels}{' and names its files by itself' if 'dataset' in content else ''}."
        )
    return content


def _paired(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Training case -> image and label map."""
    images, labels = folder / "imagesTr", folder / "labelsTr"
    scans = find_scans(images) if flat_files(images) else {}
    maps = find_label_maps(labels) if flat_files(labels) else {}
    lone = sorted(set(scans) ^ set(maps))
    if lone or not scans:
        what = "no case" if not lone else f"{lone[0]} without {'its image' if lone[0] in maps else 'its label map'}"
        raise DerivationError(
            f"{folder}: holds {what}; every case needs imagesTr/CASE{CHANNEL}.nii.gz and labelsTr/CASE.nii.gz."
        )
    return {case: (scans[case], maps[case]) for case in scans}


def _splits(folder: Path) -> list[Split] | None:
    """The folds of a dataset: its own, else those that nnU-Net drew for its preprocessed data."""
    places = [folder / SPLITS_FILE]
    if os.environ.get("nnUNet_preprocessed"):
        places.append(Path(os.environ["nnUNet_preprocessed"]) / folder.name / SPLITS_FILE)
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    return read_splits(path, DerivationError)
