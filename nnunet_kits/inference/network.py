"""The network of a trained model, built as its trainer builds it, without running what its files ask for.

It is built only where its plans name networks and layers: see :mod:`nnunet_kits.training.plan_classes`.
"""

import contextlib
import inspect
import io
import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_kits.environment import SHIM_FOLDER, TRAINER_VARIABLE
from nnunet_kits.errors import InferenceError, KitsError
from nnunet_kits.training.names import is_ours, parse_trainer_name
from nnunet_kits.training.networks import network_of, planned_network
from nnunet_kits.training.plan_classes import check_names, names_in

BAD_VALUE = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, AssertionError, ArithmeticError)
"""What nnU-Net, networks and layers raise at values that they cannot use."""

ADVICE = "If you trust whoever made the plans, pass --trust."


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
        check_names(names_in(configuration), InferenceError, "the model's plans.json", ADVICE)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Network class .* not found")  # of old plans: nnU-Net looks further
        warnings.filterwarnings("ignore", ".*torch.jit.*")  # what nnU-Net's trainer tree imports still uses it
        try:
            build = _builder(trainer)
        except RuntimeError as error:
            raise InferenceError(
                f"nnU-Net finds no trainer {trainer!r}, with which the model was trained. Install it, or name its "
                "folder in nnUNet_extTrainer."
            ) from error
        try:
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


def _builder(trainer: str) -> Callable[..., nn.Module]:
    """What builds a trainer's network: found by nnU-Net's own look-up, unless it is known what that would find.

    The look-up imports nnU-Net's trainer and, for a name that is not its own, its whole tree of trainers with all that
    they use: more modules than torch has.
    """
    if trainer == "nnUNetTrainer":
        return planned_network
    first = os.environ.get(TRAINER_VARIABLE, "").split(os.pathsep)[0]
    if is_ours(trainer) and os.path.realpath(first) == str(SHIM_FOLDER):  # nobody is asked before us
        return partial(network_of, parse_trainer_name(trainer))
    found: Callable[..., nn.Module] = recursive_find_trainer_class_by_name(trainer).build_network_architecture
    return found


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
