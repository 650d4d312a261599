"""2D patches by slices: which slice of which case."""

from typing import Any

import numpy as np

from nnunet_kits.augmentation.loader import open_case
from nnunet_kits.training.loaders import Bounds, ClassLocations, KitsLoader, PassLoader, foreground


def in_slice(loader: KitsLoader, z: int, data_shape: Any, class_locations: ClassLocations) -> Bounds:
    """The box of a patch in one slice of a case, the place in it drawn as nnU-Net draws it without oversampling."""
    of_slice = {key: _of_slice(np.asarray(found), z) for key, found in class_locations.items()}
    known = not loader.has_ignore or len(of_slice.get(loader.annotated_classes_key, ()))
    lower, upper = loader.random_place(data_shape, of_slice if known else class_locations)
    return [z, *lower[1:]], [z + 1, *upper[1:]]


def _of_slice(voxels: np.ndarray, z: int) -> np.ndarray:
    return voxels[voxels[:, 1] == z] if len(voxels) else voxels


class PositiveSliceLoader(KitsLoader):
    """2D patches of which a given number, not a given probability, come from slices with a labelled voxel.

    The last of a batch do: as many as ``oversample_foreground_percent`` says, rounded. Their slice is drawn from all
    slices of the case with a labelled voxel, and the place in it as for any other patch.
    """

    def place(self, data_shape: Any, force_fg: bool, class_locations: ClassLocations) -> Bounds:
        """The patch's box in one slice; ``force_fg`` asks for a slice with a labelled voxel."""
        labelled = list(foreground(class_locations).values()) if force_fg else []
        if not labelled:
            return self.random_place(data_shape, class_locations)
        z = int(np.random.choice(np.unique(np.concatenate([voxels[:, 1] for voxels in labelled]))))
        return in_slice(self, z, data_shape, class_locations)


class LabelledSliceLoader(PassLoader):
    """Each case once a pass; of a given number of patches a batch the slice is that of a labelled voxel drawn evenly.

    These are the last of a batch, as many as ``oversample_foreground_percent`` says, rounded. So a slice is drawn in
    proportion to its labelled voxels. The other patches come from any slice. How many voxels a slice has is counted
    when a case is first drawn.

    Source: Chen and Jin, KiTS19, section 3.4, and the author's repository jchen42703/kits19-cnn,
    ``kits19cnn/io/generators.py``.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._counts: dict[str, np.ndarray] = {}

    def labelled_voxels(self, case: str) -> np.ndarray:
        """How many voxels of each slice have a label, (z,); background and the ignore label are none."""
        if case not in self._counts:
            segmentation = np.asarray(open_case(self._data, case).labels[:])[0]
            labels = [label for label in self.annotated_classes_key if label > 0]
            self._counts[case] = np.count_nonzero(np.isin(segmentation, labels), axis=(1, 2))
        return self._counts[case]

    def place(self, data_shape: Any, force_fg: bool, class_locations: ClassLocations) -> Bounds:
        """The patch's box in one slice; ``force_fg`` asks for a slice with a labelled voxel."""
        counts = self.labelled_voxels(self.now[0]) if force_fg else np.zeros(1)
        if not counts.any():
            return self.random_place(data_shape, class_locations)
        z = int(np.random.choice(len(counts), p=counts / counts.sum()))
        return in_slice(self, z, data_shape, class_locations)


class AllSlicesLoader(PassLoader):
    """Every slice of every case once a pass, empty ones too.

    Source: Beheshtifard, author's repository Hosein-Beheshti/Kidney-Tumor-Segmentation, which shuffles all slices.
    """

    def things(self) -> list[tuple[str, int]]:
        """Case and slice."""
        depths = {case: open_case(self._data, case).labels.shape[1] for case in self.indices}
        return [(case, z) for case, depth in depths.items() for z in range(depth)]

    def place(self, data_shape: Any, force_fg: bool, class_locations: ClassLocations) -> Bounds:
        """The patch's box in the slice whose turn it is."""
        return in_slice(self, self.now[1], data_shape, class_locations)
