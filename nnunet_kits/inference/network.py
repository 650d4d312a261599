"""The network of a trained model, built as its trainer builds it, without running what its files ask for.

A ``plans.json`` names classes by their dotted paths, and whoever builds the network imports and calls what they name,
with the arguments that stand beside them. So plans are code as much as a pickle is: they are built only where they
name networks and layers.
"""

import contextlib
import inspect
import io
import pydoc
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_kits.errors import InferenceError, KitsError

BAD_VALUE = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, ArithmeticError)
"""What nnU-Net, networks and layers raise at values that they cannot use."""

NETWORKS = ("dynamic_network_architectures", "nnunet_kits", "nnunetv2")
"""Packages whose networks plans may name."""

LAYERS = (*NETWORKS, "torch.nn")
"""Packages whose layers, norms and activations they may name."""


def build_network(
    trainer: str,
    plans: PlansManager,
    configuration: ConfigurationManager,
    dataset_json: Mapping[str, Any],
    trust: bool = False,
) -> nn.Module:
    """The network that a trainer makes of plans, with random weights and without deep supervision.

    Args:
        trainer: its name, found by nnU-Net's own look-up.
        plans: of the model.
        configuration: of the model.
        dataset_json: of the dataset it was trained on.
        trust: build whatever the plans name.

    Raises:
        InferenceError: no such trainer, or plans that name something else than a network and its layers.
    """
    if not trust:
        check_names(configuration)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Network class .* not found")  # of old plans: nnU-Net looks further
        warnings.filterwarnings("ignore", ".*torch.jit.*")  # what nnU-Net's trainer tree imports still uses it
        try:
            found = recursive_find_trainer_class_by_name(trainer)
        except RuntimeError as error:
            raise InferenceError(
                f"nnU-Net finds no trainer {trainer!r}, with which the model was trained. Install it, or name its "
                "folder in nnUNet_extTrainer."
            ) from error
        try:
            build = found.build_network_architecture
            channels = determine_num_input_channels(plans, configuration, dict(dataset_json))
            heads = plans.get_label_manager(dict(dataset_json)).num_segmentation_heads
            if "plans_manager" in inspect.signature(build).parameters:
                arguments: tuple[Any, ...] = (plans, configuration, channels, heads)
            else:  # a trainer of nnU-Net before 2.8
                named = configuration.network_arch_class_name, configuration.network_arch_init_kwargs
                arguments = (*named, configuration.network_arch_init_kwargs_req_import, channels, heads)
            network: nn.Module = build(*arguments, enable_deep_supervision=False)
        except KitsError:
            raise
        except BAD_VALUE as error:
            raise InferenceError(
                f"no network can be built from the model's plans.json and dataset.json "
                f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Copy them from the training again."
            ) from error
    return network


def check_names(configuration: ConfigurationManager) -> None:
    """Refuse plans that name something else than a network and its layers.

    Raises:
        InferenceError: the name, and what may stand there.
    """
    _check_class("network_class_name", configuration.network_arch_class_name, NETWORKS)
    options = configuration.network_arch_init_kwargs
    for key in configuration.network_arch_init_kwargs_req_import:
        if options.get(key) is not None:
            _check_class(key, options[key], LAYERS)


def _check_class(key: str, name: Any, packages: tuple[str, ...]) -> None:
    """Refuse a dotted path that is no module class of some packages."""
    known = isinstance(name, str) and any(name.startswith(f"{package}.") for package in packages)
    with contextlib.suppress(pydoc.ErrorDuringImport):
        found = pydoc.locate(name) if known else None
        if (inspect.isclass(found) and issubclass(found, nn.Module)) or (known and found is None):
            return
    raise InferenceError(
        f"the model's plans.json: {key} is {name!r}, and building the network would import and call it. Allowed are "
        f"modules of {', '.join(packages)}. If you trust whoever made the plans, pass --trust."
    )


def load_weights(network: nn.Module, weights: Mapping[str, torch.Tensor], where: str) -> None:
    """Give a network its weights.

    Raises:
        InferenceError: they are another network's.
    """
    try:
        network.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise InferenceError(
            f"{where}: its weights do not fit the network that plans.json and the trainer make: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
