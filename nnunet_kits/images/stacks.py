"""How slices lie in space: their order along the normal, and whether they are a grid without gap, shift or repetition.

Positions and orientations decide, never file names, instance numbers or the tag of the gantry's tilt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.images.frames import Frame

OFF_MM = 0.1
"""How far a slice may lie off an even grid: twice what a position written with one decimal loses."""

LEAN = 1e-3
"""Sine of the angle by which a stack may lean: orientations are written with few digits too."""

SAME_MM = 1e-2
"""Slices closer than this lie in one place."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """Slices of one orientation, one size and one spacing, in order.

    Attributes:
        frames: from the first to the last along the normal.
        axes: (3, 3), in its columns the directions of columns, of rows, and the normal; left, posterior, superior.
        places_mm: (n, 3) of each slice's first voxel along these axes.
        spacing_mm: between columns, and between rows.
    """

    frames: tuple[Frame, ...]
    axes: NDArray[np.float64]
    places_mm: NDArray[np.float64]
    spacing_mm: tuple[float, float]

    @property
    def distances_mm(self) -> NDArray[np.float64]:
        """Between each slice and the next, along the normal."""
        return np.diff(self.places_mm[:, 2])

    @property
    def step_mm(self) -> float:
        """Mean distance between slices; of one slice its thickness."""
        if len(self.frames) < 2:
            return self.frames[0].thickness_mm or 1.0
        return float(self.places_mm[-1, 2] - self.places_mm[0, 2]) / (len(self.frames) - 1)

    @property
    def drift_mm(self) -> NDArray[np.float64]:
        """(n, 2): how far each slice is shifted within its plane against the first, along columns and rows."""
        drift: NDArray[np.float64] = self.places_mm[:, :2] - self.places_mm[0, :2]
        return drift

    @property
    def tilt_degrees(self) -> float:
        """Angle between the way the slices are stacked and their normal; 0 where they are stacked along it."""
        drift = float(np.linalg.norm(self.drift_mm, axis=1).max())
        length = float(self.places_mm[-1, 2] - self.places_mm[0, 2])
        return 0.0 if drift <= OFF_MM + LEAN * length else math.degrees(math.atan2(drift, length))

    @property
    def is_even(self) -> bool:
        """Whether all slices lie where equal distances put them."""
        even = self.places_mm[0, 2] + self.step_mm * np.arange(len(self.frames))
        return bool(np.abs(self.places_mm[:, 2] - even).max() <= min(OFF_MM, self.step_mm / 4))

    def repeated(self) -> list[int]:
        """Numbers of the slices that lie where the one before lies."""
        return [int(n) + 1 for n in np.flatnonzero(self.distances_mm < SAME_MM)]

    def affine(self, first_mm: Sequence[float] | None = None, step_mm: float | None = None) -> NDArray[np.float64]:
        """(4, 4) index (column, row, slice) to RAS millimetres.

        Args:
            first_mm: of the first voxel along :attr:`axes`; None for the first slice's.
            step_mm: between slices; None for :attr:`step_mm`.
        """
        corner = self.places_mm[0] if first_mm is None else np.asarray(first_mm, dtype=np.float64)
        edges = (*self.spacing_mm, self.step_mm if step_mm is None else step_mm)
        made = np.eye(4)
        made[:3, :3] = LPS_TO_RAS @ self.axes @ np.diag(edges)
        made[:3, 3] = LPS_TO_RAS @ self.axes @ corner
        return made


def axes_of(orientation: Sequence[float]) -> NDArray[np.float64] | None:
    """Directions of columns, of rows, and the normal as (3, 3) columns, at right angles and of length 1.

    Args:
        orientation: six numbers, as DICOM writes them.

    Returns:
        None where they are no two directions at right angles.
    """
    if len(orientation) != 6:
        return None
    across, down = np.asarray(orientation[:3], dtype=np.float64), np.asarray(orientation[3:], dtype=np.float64)
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if not all(abs(length - 1) < 1e-2 for length in lengths) or abs(float(across @ down)) > 1e-2:
        return None
    across = across / lengths[0]
    down = down - (down @ across) * across
    down = down / np.linalg.norm(down)
    return np.stack([across, down, np.cross(across, down)], axis=1)


def stack_of(frames: Sequence[Frame]) -> Stack:
    """Put slices in order.

    Args:
        frames: at least one; all of one orientation (the first one's counts) and spacing, all with a position.
    """
    axes: Any = axes_of(frames[0].orientation or ())
    places = np.array([frame.position_mm for frame in frames]) @ axes
    order = np.argsort(places[:, 2], kind="stable")
    down, across = frames[0].spacing_mm or (1.0, 1.0)
    return Stack(tuple(frames[number] for number in order), axes, places[order], (across, down))


def is_placed(frame: Frame) -> bool:
    """Whether a slice states where it lies: position, orientation and distances between its voxels."""
    stated = frame.position_mm is not None and frame.orientation is not None and frame.spacing_mm is not None
    if not stated or not frame.spacing_mm or not all(edge > 0 for edge in frame.spacing_mm):
        return False
    numbers = (*(frame.position_mm or ()), *(frame.orientation or ()))
    return bool(np.all(np.isfinite(numbers))) and axes_of(frame.orientation or ()) is not None
