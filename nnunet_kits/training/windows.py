"""Patches from the windows of a grid over the body, those with tumour more often."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_kits.augmentation.loader import open_case
from nnunet_kits.training.loaders import Bounds, ClassLocations, PassLoader, TripleLoader

STEP = 0.75
"""Distance of two windows, as a part of their size. Source: 60 of 80 and 120 of 160 voxels in Zhang's code."""

TUMOR_TIMES = 4
"""How often a window with tumour enters the draw, the others once. Source: Zhang's code."""

OVERHANG = 0.5
"""How far a window may reach beyond the body, as a part of its size. Source: Zhang's code."""


def window_starts(shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Where the windows over a volume begin.

    Along each axis the windows that fit, one after the other, and one more. Of these are kept the ones that lie
    within the volume, or reach beyond it along some axis by no more than ``OVERHANG`` of their size.

    Args:
        shape: of the volume, (z, y, x).
        size: of a window; a volume that is smaller counts as large as a window.

    Returns:
        (n, 3): first voxels, (z, y, x); never none.

    Source: Zhang, author's repository Yichizz/unet3d_kits19 @ db3054a, ``data_preparation/patch_generator.py``.
    """
    edges, patch = np.maximum(shape, size), np.asarray(size)
    steps = np.maximum(1, np.round(STEP * patch)).astype(int)
    axes = [np.arange((edge - side) // step + 2) * step for edge, side, step in zip(edges, patch, steps, strict=True)]
    starts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    beyond = starts + patch - edges
    slightly = (beyond > 0) & (beyond <= OVERHANG * patch)
    return starts[(beyond <= 0).all(1) | slightly.any(1)]


def body(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The box of what is brighter than the darkest voxels, the air: lower and upper bounds of (c, z, y, x)."""
    bright = (image - image.min(axis=(1, 2, 3), keepdims=True) > 1e-3).any(0)
    if not bright.any():
        return np.zeros(3, int), np.array(bright.shape)
    along = [np.flatnonzero(bright.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return np.array([found[0] for found in along]), np.array([found[-1] + 1 for found in along])


class WindowLoader(PassLoader):
    """One patch of each case a pass: one of the windows over its body, those with tumour ``TUMOR_TIMES`` as likely.

    ``shares`` tells which labels are tumour. The windows of a case are looked up when it is first drawn.

    Source: Zhang, author's repository Yichizz/unet3d_kits19 @ db3054a, ``data_preparation/unet3d_dataloader.py``.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._windows: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def windows(self, case: str) -> tuple[np.ndarray, np.ndarray]:
        """First voxels of the windows (n, 3), and how often each enters the draw (n,)."""
        if case not in self._windows:
            found = open_case(self._data, case)
            lower, upper = body(np.asarray(found.image[:]))
            tumor = np.isin(np.asarray(found.labels[:])[0], list(frozenset().union(*self.shares)))
            starts = window_starts(upper - lower, self.final_patch_size) + lower
            boxes = [tuple(map(slice, start, np.minimum(start + self.final_patch_size, upper))) for start in starts]
            self._windows[case] = starts, np.array([TUMOR_TIMES if tumor[box].any() else 1 for box in boxes])
        return self._windows[case]

    def place(self, data_shape: Any, force_fg: bool, class_locations: ClassLocations) -> Bounds:
        """The box of one window, with the margin that augmentation needs."""
        starts, times = self.windows(self.now[0])
        start = starts[np.random.choice(len(starts), p=times / times.sum())]
        lower = start - np.subtract(self.patch_size, self.final_patch_size) // 2
        return lower.tolist(), (lower + self.patch_size).tolist()


class TripleWindowLoader(TripleLoader, WindowLoader):
    """Windows as :class:`WindowLoader` draws them, each once as it is and twice augmented."""
