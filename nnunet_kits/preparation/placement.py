"""Where a prepared scan lies in its source, and the way back for what a network says about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import PreparationError
from nnunet_kits.geometry import Box, crop, pasted, whole_box
from nnunet_kits.resampling.labels import resample_labels
from nnunet_kits.resampling.scheme import Scheme

NEAREST, LINEAR = Scheme(0), Scheme(1)
"""Of label maps; of images. Voxel centres lie at half indices: both are symmetric under flips but for ties.

Source: torch's trilinear ``interpolate`` without aligned corners for images, nearest for labels and for label maps on
their way back, in chencancan1018/AbdominalOrgSeg at 35a168b (sibling code of Chen and Zhang, KiTS23), whose nearest is
shifted by half a voxel.
"""


@dataclass(frozen=True)
class Placement:
    """How a prepared scan lies in its source; every triple is (z, y, x) as nnU-Net's reader gives the scan.

    Attributes:
        source_shape: voxels of the source.
        box: of the source, half-open: what was cropped.
        shape: voxels that the box was resized to.
    """

    source_shape: tuple[int, int, int]
    box: Box
    shape: tuple[int, int, int]

    @property
    def extent(self) -> tuple[int, int, int]:
        """The source's voxels in ``box``."""
        z, y, x = (stop - start for start, stop in self.box)
        return z, y, x

    def spacing_mm(self, source_spacing_zyx_mm: Sequence[float]) -> tuple[float, float, float]:
        """Voxel edges of the prepared scan."""
        z, y, x = (
            float(edge) if before == after else float(edge) * before / after
            for edge, before, after in zip(source_spacing_zyx_mm, self.extent, self.shape, strict=True)
        )
        return z, y, x

    def to_source(self) -> NDArray[np.float64]:
        """(4, 4) index of a prepared voxel (z, y, x, 1) to index of the source; centres lie at whole numbers."""
        matrix = np.eye(4)
        for axis, ((start, _), before, after) in enumerate(zip(self.box, self.extent, self.shape, strict=True)):
            matrix[axis, axis] = before / after
            matrix[axis, 3] = start + 0.5 * before / after - 0.5
        return matrix

    def labels(self, labels: NDArray[Any]) -> NDArray[Any]:
        """A label map (z, y, x) of the source, as it lies on the prepared scan: cropped, and the nearest voxel taken.

        Raises:
            PreparationError: another shape than the source's.
        """
        _check(labels.shape, self.source_shape, "label map")
        return resample_labels(crop(labels, self.box), self.shape, NEAREST)

    def as_json(self) -> dict[str, Any]:
        """As it stands in a record."""
        return {
            "source_shape": list(self.source_shape),
            "box": [list(side) for side in self.box],
            "shape": list(self.shape),
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Placement":
        """From what :meth:`as_json` made.

        Args:
            content: as read from JSON.
            where: what holds it, for messages.

        Raises:
            PreparationError: anything else, or a box that does not lie in the source.
        """
        try:
            shapes = [tuple(int(size) for size in content[key]) for key in ("source_shape", "shape")]
            (a, b, c), (d, e, f) = shapes
            z, y, x = ((int(start), int(stop)) for start, stop in content["box"])
        except (KeyError, TypeError, ValueError) as error:
            raise PreparationError(f"{where}: {content!r} does not say where a prepared scan lies.") from error
        inside = all(0 <= start < stop <= size for (start, stop), size in zip((z, y, x), (a, b, c), strict=True))
        if not inside or min(d, e, f) < 1:
            raise PreparationError(f"{where}: the box {(z, y, x)} does not lie in {(a, b, c)} voxels, or {(d, e, f)}.")
        return cls((a, b, c), (z, y, x), (d, e, f))


def restore(labels: NDArray[Any], placement: Placement) -> NDArray[Any]:
    """Put a label map of a prepared scan back on the source's grid: nearest in the box, 0 outside it.

    Exact where nothing was resized, and along axes that were enlarged: there every voxel of the source has a voxel of
    its own. Along an axis of n voxels that was reduced to m, a voxel may take the label of one at most
    (n / m + 1) / 2 voxels away.

    Args:
        labels: (z, y, x) of the prepared scan's shape.
        placement: of the prepared scan.

    Returns:
        (z, y, x) of the source's shape, in the dtype of ``labels``.

    Raises:
        PreparationError: another shape.
    """
    _check(labels.shape, placement.shape, "label map")
    part = resample_labels(labels, placement.extent, NEAREST)
    return pasted(part, placement.box, whole_box(placement.source_shape))


def _check(given: Sequence[int], expected: tuple[int, int, int], what: str) -> None:
    if tuple(given) != expected:
        raise PreparationError(
            f"the {what} has {tuple(given)} voxels (z, y, x), but {expected} are expected. "
            "Is it of another scan, or of another preparation?"
        )
