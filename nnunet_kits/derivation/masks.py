"""Where the masks come from that a rule crops to or multiplies by: the reference, or a coarse model's label maps."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.cases.finding import find_label_maps, flat_files, unambiguous
from nnunet_kits.derivation.record import DerivedCase, derived_cases
from nnunet_kits.errors import DerivationError
from nnunet_kits.images import AxisOrder, Grid, read_integers
from nnunet_kits.model_folder import ModelFolder, fold_folders

REFERENCE = "reference"
"""Instead of a folder: every case's own label map."""


@dataclass(frozen=True)
class Mask:
    """A coarse model's label map of one case.

    Attributes:
        path: the file.
        derived: how the case lies in the dataset that the model was trained on, where that is a derived one; the label
            map may then lie on its grid.
    """

    path: Path
    derived: DerivedCase | None = None

    def read(self, grid: Grid, order: AxisOrder) -> NDArray[np.bool_]:
        """Where the label map holds any label, on a scan's grid.

        Args:
            grid: of the scan's file.
            order: how its axes are turned.

        Returns:
            (z, y, x) as the reader gives the scan.

        Raises:
            DerivationError: another grid than the scan's, or values that are no labels.
            ImageError: an unreadable file.
        """
        volume = read_integers(self.path, np.uint8)
        if volume is None:
            raise DerivationError(f"{self.path}: holds values that are no labels. Masks are label maps.")
        stored, derived = volume.array, self.derived
        if volume.grid.is_same(grid):
            return _foreground(order.as_read(stored))
        if derived is not None and volume.grid.is_same(derived.grid) and grid.is_same(derived.source_grid):
            return _foreground(order.as_read(derived.put_back(stored)))
        raise DerivationError(
            f"the mask {self.path} does not lie on the grid of its CT, {grid.shape} voxels, but on one of "
            f"{volume.grid.shape}. Put label maps of a derived dataset back with nnunet_kits restore."
        )


def find_masks(places: Sequence[Path], raw: Path) -> dict[str, Mask]:
    """Case -> mask, from folders of label maps and folders of trained models.

    Of a model's folder each case is taken from the fold in which it was validated, so that no mask is by a network that
    has seen the case.

    Args:
        places: folders.
        raw: where the datasets of models lie.

    Raises:
        DerivationError: a folder without label maps, or a case in two of them.
        ImageError: no such folder, or two files of one case.
    """
    found: dict[str, Mask] = {}
    for place in places:
        derived = _derived_cases_of(place, raw)
        for case, path in label_maps_of(place).items():
            if case in found:
                raise DerivationError(f"{case}: has two masks, {found[case].path} and {path}. Name one of the folders.")
            found[case] = Mask(path, derived.get(case))
    return found


def label_maps_of(place: Path) -> dict[str, Path]:
    """Case -> label map: of a folder, or of a trained model's validation, each case from its own fold.

    Raises:
        DerivationError: a model of which no fold was validated, or only ``all``, which trains on every case.
        ImageError: no label map, or two of one case.
    """
    folds = fold_folders(place) if place.is_dir() else {}
    if not folds:
        return find_label_maps(place)
    files = [file for fold, folder in folds.items() if fold.isdecimal() for file in flat_files(folder / "validation")]
    if not files:
        raise DerivationError(
            f"{place}: none of its folds ({', '.join(folds)}) holds predictions of validation cases that it was not "
            "trained on. Train folds 0 to 4 to the end, or validate them with nnUNetv2_train ... --val."
        )
    return unambiguous(files)


def without_mask(cases: Collection[str], masks: Collection[str], places: Sequence[Path]) -> dict[str, str]:
    """Case -> why it cannot be derived, for those without a mask."""
    where = ", ".join(map(str, places))
    folds = sorted({fold for place in places for fold in fold_folders(place)})
    advice = (
        f"Its folds are {', '.join(folds)}: train the others, or validate them with nnUNetv2_train ... --val."
        if folds
        else "Predict it."
    )
    return {
        case: f"{case}: no mask in {where}. {advice} Or leave such cases out with --skip-bad."
        for case in cases
        if case not in masks
    }


def _derived_cases_of(place: Path, raw: Path) -> dict[str, DerivedCase]:
    """The cases of the derived dataset that a model was trained on; none for other models and folders."""
    model = ModelFolder.at(place)
    return {} if model is None else derived_cases(raw / model.dataset_folder.name)


def _foreground(labels: NDArray[np.generic]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = labels != 0
    return found
