"""Zhang's three U-Nets. In the residual ones a stage has two blocks: one that strides, and one that is used again."""

from collections.abc import Sequence
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.helper import get_matching_convtransp, get_matching_instancenorm
from torch import nn
from torch.nn.functional import relu

from nnunet_kits.architectures.convolutions import Convolution, conv_norm_act, same_convolution
from nnunet_kits.architectures.published import PublishedNetwork
from nnunet_kits.architectures.topology import Topology, refuse_deep_supervision

SLOPE = 0.2
"""Of the plain network's leaky ReLU."""


class ResidualBlock(nn.Module):
    """conv-instnorm-ReLU-conv-instnorm, the skip added, ReLU.

    The skip is a strided 1x1 convolution without norm, or, without a stride, the input.

    Shape:
        (b, inputs, [z,] y, x) -> (b, outputs, [z / stride,] y / stride, x / stride).
    """

    def __init__(
        self, conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None
    ) -> None:
        super().__init__()
        norm, ones = get_matching_instancenorm(conv_op), [1] * len(kernel)
        self.conv1 = same_convolution(conv_op, inputs, outputs, kernel, stride or ones)
        self.norm1 = norm(self.normalised(inputs, outputs))
        self.conv2 = same_convolution(conv_op, outputs, outputs, kernel, ones)
        self.norm2 = norm(outputs)
        self.skip = nn.Identity() if stride is None else conv_op(inputs, outputs, 1, stride)

    @staticmethod
    def normalised(inputs: int, outputs: int) -> int:
        """Channels that the first norm sees."""
        return outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Activated sum."""
        out = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)), inplace=True)))
        return relu(out + self.skip(x), inplace=True)


class PreActivationBlock(ResidualBlock):
    """instnorm-ReLU-conv-instnorm-ReLU-conv, and the skip added, which takes the input as it came."""

    @staticmethod
    def normalised(inputs: int, outputs: int) -> int:
        """Channels that the first norm sees."""
        return inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Sum, not activated."""
        out = self.conv1(relu(self.norm1(x), inplace=True))
        out = self.conv2(relu(self.norm2(out), inplace=True))
        return out + self.skip(x)


class Repeated(nn.Module):
    """One block, applied several times with the same weights."""

    def __init__(self, block: nn.Module, times: int) -> None:
        super().__init__()
        self.block, self.times = block, times

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block of the block of ... ``x``."""
        for _ in range(self.times):
            x = self.block(x)
        return x


class TransposedDecoder(nn.Module):
    """Per stage a transposed convolution, the skip joined, and convolutions; one output.

    A transposed convolution has its stride for a kernel, but along an axis of stride 1 the stage's own kernel.
    """

    deep_supervision = False

    def __init__(self, topology: Topology, num_classes: int, convolutions: int, activation: nn.Module) -> None:
        super().__init__()
        conv_op, transposed = topology.conv_op, get_matching_convtransp(topology.conv_op)
        features, (kernels, strides) = topology.features_per_stage, topology.lists()
        self.ups, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage in range(topology.n_stages - 1, 0, -1):
            below, here = features[stage], features[stage - 1]
            edges = [k if s == 1 else s for k, s in zip(kernels[stage], strides[stage], strict=True)]
            padding = [(k - 1) // 2 if s == 1 else 0 for k, s in zip(kernels[stage], strides[stage], strict=True)]
            self.ups.append(transposed(below, here, edges, strides[stage], padding))
            units = [_unit(conv_op, 2 * here, here, kernels[stage - 1], None, activation)]
            units += [_unit(conv_op, here, here, kernels[stage - 1], None, activation) for _ in range(convolutions - 1)]
            self.stages.append(nn.Sequential(*units))
        self.seg_layers = nn.ModuleList([conv_op(features[0], num_classes, 1)])

    def forward(self, skips: list[torch.Tensor]) -> torch.Tensor:
        """Logits, of the features of every encoder stage, highest resolution first."""
        x = skips[-1]
        for up, stage, skip in zip(self.ups, self.stages, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat([up(x), skip], 1))
        logits: torch.Tensor = self.seg_layers[0](x)
        return logits


def _unit(
    conv_op: Convolution,
    inputs: int,
    outputs: int,
    kernel: Sequence[int],
    stride: Sequence[int] | None,
    activation: nn.Module,
) -> nn.Sequential:
    """conv-instnorm-activation; the activation has no weights, and is one for all."""
    convolution = same_convolution(conv_op, inputs, outputs, kernel, stride or [1] * len(kernel))
    return conv_norm_act(convolution, get_matching_instancenorm(conv_op)(outputs), activation)


class ZhangUNet(PublishedNetwork):
    """What the three have in common: two convolutions in the first stage, strided ones down, transposed ones up.

    Norms are instance norms without weights, there is one output, and initialisation is torch's own. Called as
    :class:`~nnunet_kits.architectures.topology.Topology` says; ``deep_supervision`` must be False. The paper's six
    stages have kernels of 3 x 3 x 3 and strides of 1 x 2 x 2, then 2 x 2 x 2 four times: ``KiTSZhangPlans``.

    Shape:
        input (b, input_channels, [z,] y, x) -> logits (b, num_classes, [z,] y, x).

    Raises:
        TrainingError: deep supervision.

    Source: Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor in 3D Computed Tomography Images", and the
    author's repository Yichizz/unet3d_kits19, commit db3054a.
    """

    supports_deep_supervision = False
    convolutions_up: int

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        refuse_deep_supervision(type(self).__name__, deep_supervision)
        super().__init__()
        conv_op, (kernels, strides) = stages.conv_op, stages.lists()
        widths = [input_channels, *stages.features_per_stage]
        self.encoder = nn.ModuleList([self._units(conv_op, widths[0], widths[1], kernels[0], None)])
        for number in range(1, stages.n_stages):
            self.encoder.append(
                self._stage(number, conv_op, widths[number], widths[number + 1], kernels[number], strides[number])
            )
        self.decoder = TransposedDecoder(stages, num_classes, self.convolutions_up, self._activation())

    def _activation(self) -> nn.Module:
        return nn.ReLU(inplace=True)

    def _units(
        self, conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] | None
    ) -> nn.Module:
        """conv-instnorm-activation, twice; the first strides."""
        first = _unit(conv_op, inputs, outputs, kernel, stride, self._activation())
        return nn.Sequential(first, _unit(conv_op, outputs, outputs, kernel, None, self._activation()))

    def _stage(
        self, number: int, conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> nn.Module:
        """Stage ``number``, counted from 0 at the input's resolution; that is not asked for."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        logits: torch.Tensor = self.decoder(skips)
        return logits


class LeakyUNet(ZhangUNet):
    """The plain one: conv-instnorm-leaky ReLU (slope 0.2), twice per encoder and decoder stage.

    The paper's features are 30, 60, 120, 240, 320, 320: configuration ``3d_fullres_plain`` of ``KiTSZhangPlans``.
    """

    convolutions_up = 2

    def _activation(self) -> nn.Module:
        return nn.LeakyReLU(SLOPE, inplace=True)

    def _stage(
        self, number: int, conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> nn.Module:
        return self._units(conv_op, inputs, outputs, kernel, stride)


class SharedResUNet(ZhangUNet):
    """The residual one: stage n has one strided block, and one block that is applied n times with the same weights.

    Blocks are conv-instnorm-ReLU-conv-instnorm-(+skip)-ReLU; the decoder has one conv-instnorm-ReLU a stage. The
    paper's features are 24, 48, 96, 192, 320, 320.
    """

    convolutions_up = 1
    block: type[ResidualBlock] = ResidualBlock

    def _stage(
        self, number: int, conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]
    ) -> nn.Module:
        shared = self.block(conv_op, outputs, outputs, kernel, None)
        return nn.Sequential(self.block(conv_op, inputs, outputs, kernel, stride), Repeated(shared, number))


class SharedPreActResUNet(SharedResUNet):
    """The residual one with instnorm-ReLU-conv-instnorm-ReLU-conv-(+skip) blocks.

    No norm or activation stands between a stage and the decoder.
    """

    block = PreActivationBlock
