"""A residual U-Net that begins at half the resolution: its stem strides, and its output is interpolated."""

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.helper import get_matching_batchnorm, get_matching_instancenorm
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import nn
from torch.nn.functional import interpolate, relu

from nnunet_kits.architectures.convolutions import Convolution, conv_norm_act, same_convolution
from nnunet_kits.architectures.published import PublishedNetwork
from nnunet_kits.architectures.topology import Topology

BLOCKS_PER_STAGE = 3


class Parts:
    """What the network is made of: convolutions, and a norm by batch (with weights) or by instance (without)."""

    def __init__(self, conv_op: Convolution, by_batch: bool) -> None:
        self.conv_op, self.by_batch = conv_op, by_batch

    def norm(self, features: int) -> nn.Module:
        """A norm."""
        found: nn.Module = (get_matching_batchnorm if self.by_batch else get_matching_instancenorm)(self.conv_op)(
            features
        )
        return found

    def conv(
        self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None = None, bias: bool = True
    ) -> nn.Module:
        """A convolution. One that strides is 1 wide along the axes that it does not stride."""
        if stride is not None:
            kernel = [1 if step == 1 else edge for edge, step in zip(kernel, stride, strict=True)]
        found: nn.Module = same_convolution(self.conv_op, inputs, outputs, kernel, stride or [1] * len(kernel), bias)
        return found

    def double(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None) -> nn.Sequential:
        """conv-norm-ReLU, twice; the first strides."""
        first = conv_norm_act(self.conv(inputs, outputs, kernel, stride), self.norm(outputs), nn.ReLU(inplace=True))
        return nn.Sequential(
            first, conv_norm_act(self.conv(outputs, outputs, kernel), self.norm(outputs), nn.ReLU(inplace=True))
        )


class StemBlock(nn.Module):
    """conv-norm-ReLU-conv-norm, the skip added, ReLU; the skip is the input, or a strided 1x1 convolution and a norm.

    Convolutions have no bias where batch norm follows.
    """

    def __init__(
        self, parts: Parts, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None
    ) -> None:
        super().__init__()
        bias = not parts.by_batch
        self.conv1 = parts.conv(inputs, outputs, kernel, stride, bias)
        self.norm1 = parts.norm(outputs)
        self.conv2 = parts.conv(outputs, outputs, kernel, None, bias)
        self.norm2 = parts.norm(outputs)
        self.skip = (
            nn.Identity()
            if stride is None
            else nn.Sequential(parts.conv_op(inputs, outputs, 1, stride, bias=bias), parts.norm(outputs))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activated sum."""
        out = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)), inplace=True)))
        return relu(out + self.skip(x), inplace=True)


class StemDecoder(nn.Module):
    """Per stage linear interpolation to the stage above, the skip joined, and two convolutions.

    At the input's resolution there is nothing to join: the features of the stage below are interpolated.
    """

    def __init__(self, parts: Parts, topology: Topology, num_classes: int, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        kernels, strides = topology.lists()
        features = list(topology.features_per_stage)
        self.mode = "trilinear" if len(kernels[0]) == 3 else "bilinear"
        self.strides = [tuple(float(edge) for edge in stride) for stride in strides[1:]]
        self.stages = nn.ModuleList(
            [
                parts.double(features[stage + 1] + features[stage], features[stage], kernels[stage], None)
                for stage in range(topology.n_stages - 2, 0, -1)
            ]
        )
        widths = [features[1], *features[1:-1]]
        self.seg_layers = nn.ModuleList([parts.conv_op(width, num_classes, 1) for width in widths])

    def forward(self, skips: Sequence[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Logits of the input's resolution, or of all but the lowest, highest first."""
        levels = [skips[-1]]
        for stage, skip, stride in zip(self.stages, reversed(skips[:-1]), reversed(self.strides[1:]), strict=True):
            levels.insert(0, stage(torch.cat([self._up(levels[0], stride), skip], 1)))
        top = self._up(levels[0], self.strides[0])
        if not self.deep_supervision:
            logits: torch.Tensor = self.seg_layers[0](top)
            return logits
        return [head(level) for head, level in zip(self.seg_layers, [top, *levels[:-1]], strict=True)]

    def _up(self, x: torch.Tensor, stride: tuple[float, ...]) -> torch.Tensor:
        return interpolate(x, scale_factor=stride, mode=self.mode, align_corners=False)


class StemResUNet(PublishedNetwork):
    """Chen and Zhang's coarse network: a strided stem, stages of 3 residual blocks, linear interpolation up.

    Stage 0 of the plans, the input's resolution, has no convolutions and its features are not used; stage 1 is the
    stem, two convolutions. Called as :class:`~nnunet_kits.architectures.topology.Topology` says. The authors' have 32,
    64, 128, 256 features from stage 1 on and batch norm: configuration ``3d_fullres`` of ``KiTSChenZhangCoarsePlans``.

    Shape:
        input (b, input_channels, [z,] y, x) -> logits (b, num_classes, [z,] y, x).

    Source: Chen and Zhang, "An Ensemble of 2.5D ResUnet Based Models for Segmentation of Kidney and Masses", KiTS23,
    section 2.2: "original ResUnet"; the first author's repository chencancan1018/AbdominalOrgSeg, commit 8f1be86
    (another challenge's code): train/models/backbone.py.
    """

    normalises_by_batch = True

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        super().__init__()
        parts = Parts(stages.conv_op, self.normalises_by_batch)
        kernels, strides = stages.lists()
        features = stages.features_per_stage
        self.encoder = nn.ModuleList([parts.double(input_channels, features[1], kernels[1], strides[1])])
        for stage in range(2, stages.n_stages):
            first = StemBlock(parts, features[stage - 1], features[stage], kernels[stage], strides[stage])
            others = [
                StemBlock(parts, features[stage], features[stage], kernels[stage], None)
                for _ in range(BLOCKS_PER_STAGE - 1)
            ]
            self.encoder.append(nn.Sequential(first, *others))
        self.decoder = StemDecoder(parts, stages, num_classes, deep_supervision)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits, or a list of them with deep supervision."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        found: torch.Tensor | list[torch.Tensor] = self.decoder(skips)
        return found

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He's normal initialisation for ReLU, as the paper says."""
        InitWeights_He(0.0)(module)
