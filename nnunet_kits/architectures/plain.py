"""The plain U-Net: two convolutions per stage, down and up."""

from typing import Any

from dynamic_network_architectures.architectures.unet import PlainConvUNet

from nnunet_kits.architectures.topology import Topology

CONVOLUTIONS_PER_STAGE = 2


class PlainUNet(PlainConvUNet):
    """Plain U-Net of conv-instnorm-ReLU, twice per encoder and decoder stage.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says.

    Shape:
        input (b, input_channels, [z,] y, x) -> logits (b, num_classes, [z,] y, x).

    Source: Isensee and Maier-Hein, "An attempt at beating the 3D U-Net", arXiv:1908.02182, plain 3D U-Net.
    """

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        super().__init__(
            input_channels=input_channels,
            num_classes=num_classes,
            deep_supervision=deep_supervision,
            n_conv_per_stage=CONVOLUTIONS_PER_STAGE,
            n_conv_per_stage_decoder=CONVOLUTIONS_PER_STAGE,
            **vars(stages),
            **stages.instnorm_relu(),
        )
