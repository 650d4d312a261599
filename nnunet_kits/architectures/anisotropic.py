"""The 2.5D U-Nets: they never pool along the slices."""

from typing import Any

import torch
from torch import nn

from nnunet_kits.architectures.residual import ResUNet
from nnunet_kits.architectures.stem import StemResUNet
from nnunet_kits.architectures.topology import Topology


class Unpooled(nn.Module):
    """Before a network in its bases: one that keeps the resolution along z at every stage, whatever the plans' strides.

    Slices lie 0.5 to 5 mm apart: without pooling along z, thick slices are not mixed away. With deep supervision the
    lower outputs are averaged along z to the plans' resolution, at which nnU-Net makes their targets.
    """

    dimensions = (3,)

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        stages.require(3, type(self).__name__)
        planned = stages.lists()[1]
        flat = [[1, *stride[1:]] for stride in planned]
        super().__init__(input_channels, num_classes, deep_supervision, **{**topology, "strides": flat})
        self.thinning = [1]
        for stride in planned[1:-1]:
            self.thinning.append(self.thinning[-1] * stride[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits, or a list of them with deep supervision, averaged along z where the plans are coarser there."""
        outputs = super().forward(x)  # type: ignore[misc]
        if isinstance(outputs, torch.Tensor):
            return outputs
        return [
            nn.functional.avg_pool3d(output, (thin, 1, 1)) if thin > 1 else output
            for output, thin in zip(outputs, self.thinning, strict=True)
        ]


class ResUNet25D(Unpooled, ResUNet):
    """``ResUNet`` that pools nothing along z.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says; along z strides are taken as 1.

    Shape:
        input (b, input_channels, z, y, x) -> logits (b, num_classes, z, y, x).

    Raises:
        TrainingError: a 2D configuration.

    Source: the idea of Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models for Segmentation of Kidney and
    Masses", KiTS23, section 2.2; their own network is :class:`StemResUNet25D`.
    """


class StemResUNet25D(Unpooled, StemResUNet):
    """Chen and Zhang's fine network: ``StemResUNet`` that pools nothing along z, with instance norms without weights.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says; along z strides are taken as 1. The authors'
    are strides of 1 x 2 x 2 four times, and 32, 64, 128, 256 features below the input's resolution: configuration
    ``3d_fullres`` of ``KiTSChenZhangFinePlans``.

    Shape:
        input (b, input_channels, z, y, x) -> logits (b, num_classes, z, y, x).

    Raises:
        TrainingError: a 2D configuration.

    Source: Chen and Zhang, KiTS23, section 2.2, and the first author's repository chencancan1018/crossMoDA, commit
    4f2ec0c (another challenge's code, with the same network): Segment/train/custom/model/model3D/backbones/ResUnet.py.
    """

    normalises_by_batch = False
