"""What plans do to the intensities of a scan, where each voxel is treated by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Intensity:
    """A normalisation voxel by voxel: values are cut to a range, then shifted and scaled.

    Attributes:
        lowest: of the range, in HU.
        highest: of the range.
        mean: becomes 0.
        std: becomes 1.
    """

    lowest: float = -np.inf
    highest: float = np.inf
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalise values of any shape in place, and return them."""
        np.clip(values, self.lowest, self.highest, out=values)
        values -= self.mean
        values /= self.std
        return values

    def of(self, value: float) -> float:
        """What becomes of one value in the range."""
        return (value - self.mean) / self.std

    def range_of(self, scan: NDArray[np.generic]) -> tuple[float, float]:
        """Least and greatest value of a normalised scan, of which not more is looked at than needed.

        Args:
            scan: (z, y, x), HU. Every 256th voxel is enough where the range is passed on both sides.
        """
        few = scan[::4, ::8, ::8]
        if few.size == 0 or few.min() > self.lowest or few.max() < self.highest:
            few = scan
        return self.of(max(self.lowest, float(few.min()))), self.of(min(self.highest, float(few.max())))


def planned_intensity(plans: Mapping[str, Any], configuration: Mapping[str, Any], channel: int = 0) -> Intensity | None:
    """What plans do to one channel of a scan.

    Args:
        plans: the plans file.
        configuration: one of its configurations, inheritance resolved.
        channel: of the scan.

    Returns:
        None for a normalisation that needs more than the voxel and the plans.

    Source: nnunetv2.preprocessing.normalization.default_normalization_schemes, version 2.8.1.
    """
    scheme = configuration["normalization_schemes"][channel]
    if scheme == "NoNormalization":
        return Intensity()
    if scheme != "CTNormalization":
        return None
    given = plans["foreground_intensity_properties_per_channel"][str(channel)]
    lowest, highest = float(given["percentile_00_5"]), float(given["percentile_99_5"])
    return Intensity(lowest, highest, float(given["mean"]), max(float(given["std"]), 1e-8))
