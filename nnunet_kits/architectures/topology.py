"""What a plans file states of a network, and what every network here is called with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dynamic_network_architectures.building_blocks.helper import get_matching_instancenorm, maybe_convert_scalar_to_list
from torch import nn

from nnunet_kits.errors import TrainingError


@dataclass(frozen=True)
class Topology:
    """The stages of a network, as the ``arch_kwargs`` of any nnU-Net plans file state them.

    Every network of this package is called as nnU-Net calls it, ``Network(input_channels, num_classes,
    deep_supervision, **topology)``:

    - ``input_channels``: channels of the input, the cascade's one-hot channels included;
    - ``num_classes``: output channels (classes with background, or regions);
    - ``deep_supervision``: True gives a list of ``n_stages - 1`` logits, highest resolution first; False one tensor;
    - ``topology``: these attributes, by name. One that is missing, or another, is a ``TypeError``.

    Attributes:
        n_stages: resolutions, the input's included.
        features_per_stage: channels at each of them.
        conv_op: ``torch.nn.Conv2d`` or ``torch.nn.Conv3d``.
        kernel_sizes: one per stage.
        strides: one per stage; the first is 1.
    """

    n_stages: int
    features_per_stage: Sequence[int]
    conv_op: type[nn.Conv2d] | type[nn.Conv3d]
    kernel_sizes: Sequence[Sequence[int] | int]
    strides: Sequence[Sequence[int] | int]

    def require(self, dimensions: int, network: str) -> None:
        """Refuse a configuration of other dimensions than a network can have.

        Raises:
            TrainingError: the network, and what to train.
        """
        if self.conv_op is not (nn.Conv2d if dimensions == 2 else nn.Conv3d):
            flat = "its patches are slices, but the configuration is 3D. Train configuration 2d."
            deep = "its patches are three-dimensional, but the configuration is 2D. Train a 3D configuration."
            raise TrainingError(f"{network}: {flat if dimensions == 2 else deep}")

    def lists(self) -> tuple[list[list[int]], list[list[int]]]:
        """Kernels and strides of the stages, a number an axis."""
        kernels, strides = (
            [maybe_convert_scalar_to_list(self.conv_op, given) for given in sizes]
            for sizes in (self.kernel_sizes, self.strides)
        )
        return kernels, strides

    def instnorm_relu(self) -> dict[str, Any]:
        """Convolutions with bias, instance norm and ReLU, in dynamic-network-architectures' words."""
        return {
            "conv_bias": True,
            "norm_op": get_matching_instancenorm(self.conv_op),
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": nn.ReLU,
            "nonlin_kwargs": {"inplace": True},
        }


def refuse_deep_supervision(network: str, asked_for: bool) -> None:
    """Refuse to build a network of one output with outputs at lower resolutions.

    Raises:
        TrainingError: they were asked for.
    """
    if asked_for:
        raise TrainingError(f"{network}: it has one output, so it cannot be trained with deep supervision.")
