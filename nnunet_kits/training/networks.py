"""The networks of our trainers, built from plans without nnU-Net's trainer, whose imports are more than torch."""

import dataclasses

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.architectures.precision import in_float32
from nnunet_kits.architectures.topology import Topology
from nnunet_kits.errors import TrainingError
from nnunet_kits.training.names import PLANNED, TrainerName
from nnunet_kits.training.published import PUBLISHED
from nnunet_kits.training.settings import TrainingSettings, training_settings

TOPOLOGY = tuple(field.name for field in dataclasses.fields(Topology))
"""What our networks take from any plans file; blocks, norms and activations are their own."""


def settings_of(parts: TrainerName, manager: ConfigurationManager, name: str) -> TrainingSettings:
    """Those of the plans, and of the published system where the plans have none.

    Args:
        parts: of the trainer's name.
        manager: of the configuration.
        name: of what holds the configuration, for messages.
    """
    usual = PUBLISHED[parts.published].settings if parts.published else None
    return training_settings(manager.configuration, name, usual)


def network_of(
    parts: TrainerName,
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    num_input_channels: int,
    num_output_channels: int,
    enable_deep_supervision: bool = True,
) -> nn.Module:
    """A trainer's kind of network in the plans' topology.

    Raises:
        TrainingError: the plans state no topology, or too few stages for deep supervision.
    """
    channels = (num_input_channels, num_output_channels)
    given = configuration_manager.network_arch_init_kwargs
    missing = [key for key in TOPOLOGY if key not in given]
    if missing and parts.network != PLANNED:
        raise TrainingError(
            f"{parts}: plans {plans_manager.plans_name} describe a "
            f"{configuration_manager.network_arch_class_name} without {', '.join(missing)}, from which "
            f"{parts.network} takes its topology. Use nnU-Net's own plans or one of ours."
        )
    if enable_deep_supervision:
        from nnunet_kits.training.compatibility import check_stages  # imports the losses

        check_stages(str(parts), plans_manager.plans_name, len(configuration_manager.pool_op_kernel_sizes))
    if parts.network == PLANNED:
        network = planned_network(plans_manager, configuration_manager, *channels, enable_deep_supervision)
    else:
        network = get_network_from_plans(
            NETWORKS[parts.network].factory,
            {key: given[key] for key in TOPOLOGY},
            ["conv_op"],
            *channels,
            allow_init=True,
            deep_supervision=enable_deep_supervision,
        )
    settings = settings_of(parts, configuration_manager, plans_manager.plans_name)
    return network if settings.mixed_precision else in_float32(network)


def planned_network(
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    num_input_channels: int,
    num_output_channels: int,
    enable_deep_supervision: bool = True,
) -> nn.Module:
    """The network that the plans name, as nnU-Net's own trainer asks for it."""
    return get_network_from_plans(
        configuration_manager.network_arch_class_name,
        configuration_manager.network_arch_init_kwargs,
        configuration_manager.network_arch_init_kwargs_req_import,
        num_input_channels,
        num_output_channels,
        allow_init=True,
        deep_supervision=enable_deep_supervision,
    )
