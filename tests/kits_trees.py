"""Tiny KiTS folders of any year, written as the challenges write theirs: float64 HU, IPL affines, sform only."""

from pathlib import Path

import nibabel as nib
import numpy as np

from nnunet_kits.labels import Label
from nnunet_kits.releases import RELEASES

SHAPE = (6, 10, 12)
IPL = np.array([[0, 0, -0.875, 0], [0, -0.75, 0, 0], [-5.0, 0, 0, 0], [0, 0, 0, 1]])


def image_of(number: int) -> np.ndarray:
    """Integer HU, other for every case."""
    return np.random.default_rng(number).integers(-1024, 3072, SHAPE).astype(np.float64)


def labels_of(number: int, year: str, shift: int = 0) -> np.ndarray:
    """A kidney with a tumour, and, where the year has them, a cyst in every second case."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 2 : 8 - shift, 2:9] = 1
    labels[2, 3:5, 3:6] = 2
    if Label.CYST in RELEASES[year].labels and number % 2 == 0:
        labels[3, 5, 6:8] = 3
    return labels


def save(path: Path, array: np.ndarray, affine: np.ndarray = IPL) -> Path:
    """As the challenges do: sform code 2, qform code 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def make_tree(root: Path, year: str = "23", training=(0, 1, 2), test=()) -> Path:
    """A repository with its data folder; returns the root."""
    release = RELEASES[year]
    for number in (*training, *test):
        folder = root / release.data_folders[0] / f"case_{number:05d}"
        save(folder / release.image_file, image_of(number))
        if number in training:
            for shift, name in enumerate(release.label_files.values()):
                save(folder / name, labels_of(number, year, shift))
    return root


def case_folder(root: Path, number: int, year: str = "23") -> Path:
    """Where ``make_tree`` puts a case."""
    return root / RELEASES[year].data_folders[0] / f"case_{number:05d}"
