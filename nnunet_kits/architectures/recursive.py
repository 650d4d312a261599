"""The recursive 2D U-Net: a U-Net with a U-Net inside it, down to the bottom."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import nn

from nnunet_kits.architectures.published import PublishedNetwork
from nnunet_kits.architectures.topology import Topology, refuse_deep_supervision

SLOPE = 0.3
"""Of the leaky ReLU in the authors' code."""


def sub_blocks(inputs: int, outputs: int) -> nn.Sequential:
    """Two sub-blocks of conv 3x3 - instnorm - ReLU: (b, inputs, y, x) -> (b, outputs, y, x)."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.InstanceNorm2d(outputs, eps=1e-5, affine=True)]
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def leaky_sub_blocks(inputs: int, outputs: int) -> nn.Sequential:
    """Two sub-blocks of conv 3x3 - leaky ReLU - batch norm: (b, inputs, y, x) -> (b, outputs, y, x)."""
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.LeakyReLU(SLOPE, inplace=True)]
        layers.append(nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01))
    return nn.Sequential(*layers)


class Level(nn.Module):
    """One level: two sub-blocks, all levels below it at half the resolution, and two sub-blocks on both joined."""

    def __init__(
        self,
        inputs: int,
        features: Sequence[int],
        strides: Sequence[tuple[int, int]],
        blocks: Callable[[int, int], nn.Module] = sub_blocks,
        upsampling: str = "bilinear",
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.context = blocks(inputs, features[0])
        self.below: Level | None = None
        if len(features) > 1:
            self.pool = nn.MaxPool2d(strides[0])
            self.below = Level(features[0], features[1:], strides[1:], blocks, upsampling)
            self.localization = blocks(features[0] + features[1], features[0])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Features of this level and all below, highest resolution first."""
        context = self.context(x)
        if self.below is None:
            return [context]
        lower = self.below(self.pool(context))
        align = None if self.upsampling == "nearest" else False
        up = nn.functional.interpolate(lower[0], size=context.shape[2:], mode=self.upsampling, align_corners=align)
        return [self.localization(torch.cat([context, up], 1)), *lower]


class Heads(nn.Module):
    """A 1x1 convolution for each resolution but the lowest."""

    def __init__(self, features: Sequence[int], num_classes: int, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.seg_layers = nn.ModuleList([nn.Conv2d(width, num_classes, 1) for width in features])

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Logits of every level, or of the highest alone."""
        if self.deep_supervision:
            return [head(level) for head, level in zip(self.seg_layers, levels, strict=False)]
        logits: torch.Tensor = self.seg_layers[0](levels[0])
        return logits


class RecursiveUNet2D(nn.Module):
    """Chen and Jin's 2D U-Net: max pooling on the way down, bilinear upsampling on the way up.

    The paper has six levels with 20 filters at the first, doubling with each; here both come from the plans
    (``KiTSChenJin2DPlans`` says what the paper says).

    Called as :class:`~nnunet_kits.architectures.topology.Topology` says.
    ``kernel_sizes`` are not used: the paper's convolutions are 3 x 3.

    Shape:
        input (b, input_channels, y, x) -> logits (b, num_classes, y, x).

    Raises:
        TrainingError: a 3D configuration.

    Source: Chen and Jin, "A 2D U-Net for Automated Kidney and Renal Tumor Segmentation", KiTS19, section 3.2.
    """

    dimensions = (2,)
    outputs = -1
    """Where the outputs end: at every level but the lowest."""

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        stages = Topology(**topology)
        stages.require(2, type(self).__name__)
        super().__init__()
        steps = [(s, s) if isinstance(s, int) else (int(s[0]), int(s[1])) for s in stages.strides]
        features = list(stages.features_per_stage)[: stages.n_stages]
        self.encoder = self._levels(input_channels, features, steps[1:])
        self.decoder = Heads(features[: self.outputs], num_classes, deep_supervision)

    @staticmethod
    def _levels(inputs: int, features: Sequence[int], strides: Sequence[tuple[int, int]]) -> Level:
        return Level(inputs, features, strides)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits, or a list of them with deep supervision."""
        found: torch.Tensor | list[torch.Tensor] = self.decoder(self.encoder(x))
        return found

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He initialisation."""
        InitWeights_He(1e-2)(module)


class BatchNormUNet2D(RecursiveUNet2D, PublishedNetwork):
    """Chen and Jin's 2D U-Net as their code builds it: conv-leaky ReLU-batch norm, nearest upsampling, one output.

    The slope is 0.3. Weights begin as keras' (Glorot, uniform), and batch norm has its momentum and epsilon.
    The paper says bilinear upsampling: that is :class:`RecursiveUNet2D`, whose norm and nonlinearity are nnU-Net's.
    ``deep_supervision`` must be False.

    Raises:
        TrainingError: a 3D configuration, or deep supervision.

    Source: the authors' repository jchen42703/kits19-cnn, kits19cnn/models/unet, commits 2f106ee and 65d5e43.
    """

    supports_deep_supervision = False
    outputs = 1

    def __init__(self, input_channels: int, num_classes: int, deep_supervision: bool, **topology: Any) -> None:
        refuse_deep_supervision("BatchNormUNet2D", deep_supervision)
        super().__init__(input_channels, num_classes, deep_supervision, **topology)

    @staticmethod
    def _levels(inputs: int, features: Sequence[int], strides: Sequence[tuple[int, int]]) -> Level:
        return Level(inputs, features, strides, leaky_sub_blocks, "nearest")

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """Glorot's uniform initialisation, biases of zero."""
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # ours have one
