"""What a network is made of, counted on no device: nothing is computed, shapes alone go through it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from torch import nn

from nnunet_kits.training.compatibility import network_class, supports_deep_supervision
from nnunet_kits.training.names import is_ours
from nnunet_kits.training.trainers import trainer_class

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Size:
    """A network, at one image.

    Attributes:
        parameters: how many.
        forward_tflop: 10^12 operations of its convolutions, a multiplication and an addition each, once forward.
        outputs: elements of what all its layers give, which training keeps.
    """

    parameters: int
    forward_tflop: float
    outputs: int


def network_of(
    plans: Mapping[str, Any], configuration: str, trainer: str, dataset_json: Mapping[str, Any]
) -> nn.Module:
    """The network that a trainer would train, without memory.

    Args:
        plans: content of a plans file.
        configuration: of the plans.
        trainer: its name; of one that is not ours, the network that the plans name.
        dataset_json: with ``labels``.

    Raises:
        TrainingError: the network cannot be built, for example because an optional package is missing.
    """
    manager = PlansManager(dict(plans))
    found = manager.get_configuration(configuration)
    labels = manager.get_label_manager(dict(dataset_json))
    inputs = 1 + (len(labels.foreground_labels) if found.previous_stage_name else 0)
    deep, build = True, nnUNetTrainer.build_network_architecture
    if is_ours(trainer):
        ours = trainer_class(trainer)
        kind = network_class(ours.parts.network, found.network_arch_class_name)
        settings = ours._settings_of(found, configuration)
        deep, build = supports_deep_supervision(kind) and settings.deep_supervision, ours.build_network_architecture
    with torch.device("meta"):
        network: nn.Module = build(manager, found, inputs, labels.num_segmentation_heads, deep)
    vars(network).pop("forward", None)  # in_float32's: precision changes no count, and autocast needs a real device
    return network


def size_of(network: nn.Module, patch_size: Sequence[int]) -> Size:
    """Count a network.

    Args:
        network: on the device ``meta``.
        patch_size: of the one image that goes through it.
    """
    counted = {"flop": 0.0, "outputs": 0.0}

    def look(layer: nn.Module, given: tuple[torch.Tensor, ...], found: torch.Tensor) -> None:
        counted["outputs"] += found.numel()
        if isinstance(layer, CONVOLUTIONS):
            voxels = math.prod((given[0] if isinstance(layer, TRANSPOSED) else found).shape[2:])
            each = layer.in_channels * layer.out_channels // layer.groups * math.prod(layer.kernel_size)
            counted["flop"] += 2 * each * voxels

    layers = [layer for layer in network.modules() if not list(layer.children())]
    channels = next(layer.in_channels for layer in layers if isinstance(layer, CONVOLUTIONS))
    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        with torch.no_grad():
            network(torch.empty(1, channels, *patch_size, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    parameters = sum(values.numel() for values in network.parameters())
    return Size(parameters, counted["flop"] / 1e12, int(counted["outputs"]))
