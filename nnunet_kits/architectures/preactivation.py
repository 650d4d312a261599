"""The pre-activation residual U-Net: normalise and activate first, convolve after, keep the identity path clean."""

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.helper import (
    convert_conv_op_to_dim,
    get_matching_instancenorm,
    get_matching_pool_op,
)
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import nn

from nnunet_kits.architectures.convolutions import Convolution, same_convolution
from nnunet_kits.architectures.residual import encoder_blocks
from nnunet_kits.architectures.topology import Topology


class PreActivationBlock(nn.Module):
    """instnorm-ReLU-conv, twice, plus the skip.

    The skip is the identity, or an average pool (where the block strides) and a 1x1 convolution (where it widens).

    Shape:
        (b, inputs, [z,] y, x) -> (b, outputs, [z / stride,] y / stride, x / stride).
    """

    def __init__(
        self, conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> None:
        super().__init__()
        norm = get_matching_instancenorm(conv_op)
        ones = [1] * len(stride)
        self.norm1 = norm(inputs, eps=1e-5, affine=True)
        self.conv1 = same_convolution(conv_op, inputs, outputs, kernel, stride)
        self.norm2 = norm(outputs, eps=1e-5, affine=True)
        self.conv2 = same_convolution(conv_op, outputs, outputs, kernel, ones)
        skip: list[nn.Module] = []
        if any(s != 1 for s in stride):
            skip.append(get_matching_pool_op(conv_op=conv_op, pool_type="avg")(tuple(stride), tuple(stride)))
        if inputs != outputs:
            skip.append(conv_op(inputs, outputs, 1, bias=False))
        self.skip = nn.Sequential(*skip)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Residual sum, not activated."""
        out = self.conv1(nn.functional.relu(self.norm1(x), inplace=True))
        out = self.conv2(nn.functional.relu(self.norm2(out), inplace=True))
        return out + self.skip(x)


class PreActivationEncoder(nn.Module):
    """Stem convolution and stages of pre-activation blocks.

    What a stage hands to the decoder is normalised and activated once more; what it hands to the next stage is not.
    The attributes are those that ``UNetDecoder`` of dynamic-network-architectures reads from an encoder.
    """

    def __init__(self, input_channels: int, topology: Topology) -> None:
        super().__init__()
        conv_op = topology.conv_op
        kernels, self.strides = topology.lists()
        self.conv_op, self.conv_bias = conv_op, True
        self.norm_op, self.norm_op_kwargs = get_matching_instancenorm(conv_op), {"eps": 1e-5, "affine": True}
        self.nonlin, self.nonlin_kwargs = nn.ReLU, {"inplace": True}
        self.dropout_op = self.dropout_op_kwargs = None
        self.output_channels = list(topology.features_per_stage)
        self.kernel_sizes = kernels

        width = self.output_channels[0]
        ones = [1] * convert_conv_op_to_dim(conv_op)
        self.stem = same_convolution(conv_op, input_channels, width, kernels[0], ones)
        self.stages = nn.ModuleList()
        self.exit_norms = nn.ModuleList()
        for blocks, features, kernel, stride in zip(
            encoder_blocks(len(self.output_channels)), self.output_channels, kernels, self.strides, strict=True
        ):
            first = PreActivationBlock(conv_op, width, features, kernel, stride)
            others = [PreActivationBlock(conv_op, features, features, kernel, ones) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(first, *others))
            self.exit_norms.append(self.norm_op(features, **self.norm_op_kwargs))
            width = features

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Activated features of every stage, highest resolution first."""
        x = self.stem(x)
        skips = []
        for stage, norm in zip(self.stages, self.exit_norms, strict=True):
            x = stage(x)
            skips.append(nn.functional.relu(norm(x), inplace=True))
        return skips


class PreActResUNet(nn.Module):
    """U-Net whose encoder is built of instnorm-ReLU-conv-instnorm-ReLU-conv-(+skip) blocks.

    Blocks per stage (1, 2, 3, 4, 4, ...) and decoder (one conv-instnorm-ReLU per stage) are those of ``ResUNet``.

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says.

    Shape:
        input (b, input_channels, [z,] y, x) -> logits (b, num_classes, [z,] y, x).

    Source: Isensee and Maier-Hein, arXiv:1908.02182, pre-activation residual 3D U-Net; He et al., "Identity mappings
    in deep residual networks", arXiv:1603.05027, figure 4e.
    """

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        super().__init__()
        features = stages.features_per_stage
        if len(features) != stages.n_stages:
            raise ValueError(f"features_per_stage has {len(features)} entries for {stages.n_stages} stages.")
        self.encoder = PreActivationEncoder(input_channels, stages)
        self.decoder = UNetDecoder(self.encoder, num_classes, 1, deep_supervision)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits, or a list of them with deep supervision."""
        return self.decoder(self.encoder(x))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He initialisation; each block starts as the identity, as in ``ResUNet``.

        Unlike there it is the last convolution that starts at zero: no norm stands between it and the sum.
        """
        InitWeights_He(1e-2)(module)
        if isinstance(module, PreActivationBlock):
            for parameter in module.conv2.parameters():
                nn.init.zeros_(parameter)
