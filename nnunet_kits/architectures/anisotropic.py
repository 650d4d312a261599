"""The 2.5D residual U-Net: it never pools along the slices."""

from typing import Any

import torch
from torch import nn

from nnunet_kits.architectures.residual import ResUNet
from nnunet_kits.architectures.topology import Topology


class ResUNet25D(ResUNet):
    """``ResUNet`` that keeps the resolution along z at every stage, whatever the plans' strides say.

    Slices lie 0.5 to 5 mm apart: without pooling along z, thick slices are not mixed away. With deep supervision the
    lower outputs are averaged along z to the plans' resolution, at which nnU-Net makes their targets.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says; along z strides are taken as 1.
    The paper has 4 stages (3 down, 3 up).

    Shape:
        input (b, input_channels, z, y, x) -> logits (b, num_classes, z, y, x).

    Raises:
        TrainingError: a 2D configuration.

    Source: Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models for Segmentation of Kidney and Masses", KiTS23,
    section 2.2.
    """

    dimensions = (3,)

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        stages.require(3, "ResUNet25D")
        planned = [[stride] * 3 if isinstance(stride, int) else list(stride) for stride in stages.strides]
        flat = [[1, *stride[1:]] for stride in planned]
        super().__init__(input_channels, num_classes, deep_supervision, **{**topology, "strides": flat})
        self.thinning = [1]
        for stride in planned[1:-1]:
            self.thinning.append(self.thinning[-1] * stride[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits, or a list of them with deep supervision, averaged along z where the plans are coarser there."""
        outputs = super().forward(x)
        if isinstance(outputs, torch.Tensor):
            return outputs
        return [
            nn.functional.avg_pool3d(output, (thin, 1, 1)) if thin > 1 else output
            for output, thin in zip(outputs, self.thinning, strict=True)
        ]
