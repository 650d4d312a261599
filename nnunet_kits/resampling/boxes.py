"""Resampling of any box between a scan and a grid, on any device: as nnU-Net does, without the rest of the scan.

Only the voxels that a box's splines draw on are touched. The operators are applied to tensors of several channels, on
the GPU where there is one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnunet_kits.geometry import Box
from nnunet_kits.resampling.operators import AxisOperator, Rows, operator_along
from nnunet_kits.resampling.scheme import Scheme


@dataclass(frozen=True)
class BoxResampling:
    """How one box of a resampled volume is made.

    Attributes:
        operators: of the axes.
        box: half-open, in voxels after.
        needed: the box before that it draws on.
    """

    operators: tuple[AxisOperator, AxisOperator, AxisOperator]
    box: Box
    needed: Box

    def __call__(self, volume: Tensor) -> Tensor:
        """Resample.

        Args:
            volume: (..., z, y, x), floating point, exactly the ``needed`` box.

        Returns:
            (..., z, y, x) of the size of ``box``, on the volume's device.
        """
        shorter_first = sorted(range(3), key=lambda axis: _size(self.box[axis]) / _size(self.needed[axis]))
        for axis in shorter_first:
            if not self.operators[axis].is_identity:
                volume = _along(self.operators[axis], self.box[axis], self.needed[axis][0], volume, axis - 3)
        return volume


def box_resampling(old: Sequence[int], new: Sequence[int], scheme: Scheme, box: Box) -> BoxResampling:
    """Prepare to make one box of a resampled volume.

    Args:
        old: shape before.
        new: shape after.
        scheme: how to interpolate.
        box: half-open, in voxels after.
    """
    z, y, x = (operator_along(scheme, axis, old[axis], new[axis]) for axis in range(3))
    return BoxResampling((z, y, x), box, (z.inputs(*box[0]), y.inputs(*box[1]), x.inputs(*box[2])))


def _size(rows: Rows) -> int:
    return rows[1] - rows[0]


def _along(operator: AxisOperator, rows: Rows, origin: int, volume: Tensor, axis: int) -> Tensor:
    """Apply one operator along one of the last three axes of a volume that begins at sample ``origin``."""
    shape = list(volume.shape)
    shape[axis] = _size(rows)
    result = volume.new_empty(shape)
    for (lower, upper), (first, last), matrix in operator.tiles(*rows):
        band = torch.from_numpy(matrix).to(volume)
        given = volume.narrow(axis, first - origin, last - first)
        target = result.narrow(axis, lower - rows[0], upper - lower)
        if axis == -1:
            target.copy_(given @ band.T)
        elif axis == -2:
            target.copy_(band @ given)
        else:
            flat = given.flatten(-2)
            target.copy_((band @ flat).reshape(target.shape))
    return result
