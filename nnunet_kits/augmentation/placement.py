"""Where a patch lies, for a spatial transform that draws before anything is read."""

from dataclasses import dataclass
from typing import Any

PLACED = "kits_placed"
"""Key under which a loader that has read no more than the patch needs gives a pipeline its :class:`Placed`."""


@dataclass(frozen=True)
class Placed:
    """Where a patch lies, once drawn.

    Attributes:
        drawn: parameters of nnU-Net's transform, but ``places`` in place of its grid: voxel coordinates (axes, *patch)
            in the whole, None unless an elastic deformation is drawn.
        shape: ([z,] y, x) of the whole that they were drawn for, which is the patch with its margin.
        offset: where in the whole that begins which was read.
    """

    drawn: dict[str, Any]
    shape: tuple[int, ...]
    offset: tuple[int, ...]
