"""The residual U-Net: residual blocks on the way down, one convolution per stage on the way up."""

from typing import Any

from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

from nnunet_kits.architectures.topology import Topology


def encoder_blocks(n_stages: int) -> list[int]:
    """Residual blocks per encoder stage: 1, 2, 3, 4, 4, ...

    Source: Isensee and Maier-Hein, arXiv:1908.02182, residual 3D U-Net.
    """
    return [min(stage + 1, 4) for stage in range(n_stages)]


class ResUNet(ResidualEncoderUNet):
    """U-Net whose encoder is built of conv-instnorm-ReLU-conv-instnorm-(+skip)-ReLU blocks.

    A stem convolution, then 1, 2, 3, 4, 4, ... residual blocks per stage, the first of a stage strided; the decoder
    has one conv-instnorm-ReLU per stage. Where a block changes size or width its skip is an average pool and a
    1x1 convolution (ResNet-D), as dynamic-network-architectures builds it.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says.

    Shape:
        input (b, input_channels, [z,] y, x) -> logits (b, num_classes, [z,] y, x).

    Source: Isensee and Maier-Hein, "An attempt at beating the 3D U-Net", arXiv:1908.02182, residual 3D U-Net.
    """

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        super().__init__(
            input_channels=input_channels,
            num_classes=num_classes,
            deep_supervision=deep_supervision,
            n_blocks_per_stage=encoder_blocks(stages.n_stages),
            n_conv_per_stage_decoder=1,
            **vars(stages),
            **stages.instnorm_relu(),
        )
