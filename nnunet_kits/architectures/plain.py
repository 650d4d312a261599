"""The plain U-Net: two convolutions per stage, down and up."""

from collections.abc import Sequence

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from dynamic_network_architectures.building_blocks.helper import get_matching_instancenorm
from torch import nn

CONVOLUTIONS_PER_STAGE = 2


class PlainUNet(PlainConvUNet):
    """Plain U-Net of conv-instnorm-ReLU, twice per encoder and decoder stage.

    Args:
        input_channels: channels of the input, the cascade's one-hot channels included.
        num_classes: output channels (classes with background, or regions).
        deep_supervision: True gives a list of ``n_stages - 1`` logits, highest resolution first; False one tensor.
        n_stages: resolutions, the input's included.
        features_per_stage: channels at each of them.
        conv_op: ``torch.nn.Conv2d`` or ``torch.nn.Conv3d``.
        kernel_sizes: one per stage.
        strides: one per stage; the first is 1.

    Shape:
        input (b, input_channels, [z,] y, x) -> logits (b, num_classes, [z,] y, x).

    Source: Isensee and Maier-Hein, "An attempt at beating the 3D U-Net", arXiv:1908.02182, plain 3D U-Net.
    """

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
        super().__init__(
            input_channels=input_channels,
            num_classes=num_classes,
            deep_supervision=deep_supervision,
            n_stages=n_stages,
            features_per_stage=features_per_stage,
            conv_op=conv_op,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=CONVOLUTIONS_PER_STAGE,
            n_conv_per_stage_decoder=CONVOLUTIONS_PER_STAGE,
            conv_bias=True,
            norm_op=get_matching_instancenorm(conv_op),
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.ReLU,
            nonlin_kwargs={"inplace": True},
        )
