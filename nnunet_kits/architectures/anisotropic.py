"""The 2.5D residual U-Net: it never pools along the slices."""

from collections.abc import Sequence

import torch
from torch import nn

from nnunet_kits.architectures.residual import ResUNet
from nnunet_kits.errors import TrainingError


class ResUNet25D(ResUNet):
    """``ResUNet`` that keeps the resolution along z at every stage, whatever the plans' strides say.

    Slices lie 0.5 to 5 mm apart: without pooling along z, thick slices are not mixed away. With deep supervision the
    lower outputs are averaged along z to the plans' resolution, at which nnU-Net makes their targets.

    Args:
        input_channels: channels of the input, the cascade's one-hot channels included.
        num_classes: output channels (classes with background, or regions).
        deep_supervision: True gives a list of ``n_stages - 1`` logits, highest resolution first; False one tensor.
        n_stages: resolutions, the input's included; the paper has 4 (3 down, 3 up).
        features_per_stage: channels at each of them.
        conv_op: ``torch.nn.Conv3d``.
        kernel_sizes: one per stage.
        strides: one per stage; along z they are taken as 1.

    Shape:
        input (b, input_channels, z, y, x) -> logits (b, num_classes, z, y, x).

    Raises:
        TrainingError: a 2D configuration.

    Source: Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models for Segmentation of Kidney and Masses", KiTS23,
    section 2.2.
    """

    dimensions = (3,)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        deep_supervision: bool,
        n_stages: int,
        features_per_stage: Sequence[int],
        conv_op: type[nn.Conv2d] | type[nn.Conv3d],
        kernel_sizes: Sequence[Sequence[int] | int],
        strides: Sequence[Sequence[int] | int],
    ) -> None:
        if conv_op is not nn.Conv3d:
            raise TrainingError(
                "ResUNet25D: its patches are three-dimensional, but the configuration is 2D. Train a 3D configuration."
            )
        planned = [[stride] * 3 if isinstance(stride, int) else list(stride) for stride in strides]
        flat = [[1, *stride[1:]] for stride in planned]
        super().__init__(
            input_channels, num_classes, deep_supervision, n_stages, features_per_stage, conv_op, kernel_sizes, flat
        )
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
