"""Classes that plans name: plans are code as much as a pickle is, unless they name networks and layers alone.

Whoever builds a network of plans imports what they name by its dotted path, and calls it with the arguments that stand
beside it: nnU-Net does so with any name.
"""

import contextlib
import inspect
import pydoc
from collections.abc import Iterable
from typing import Any

from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager
from torch import nn

from nnunet_kits.errors import KitsError

NETWORKS = ("dynamic_network_architectures", "nnunet_kits", "nnunetv2")
"""Packages whose networks a stranger's plans may name."""

LAYERS = (*NETWORKS, "torch.nn")
"""Packages whose layers, norms and activations any plans may name."""


Named = tuple[str, Any, tuple[str, ...] | None]
"""A key of plans, the dotted path that stands there, and the packages that it may name; None for any."""


def names_in(configuration: ConfigurationManager, networks: tuple[str, ...] | None = NETWORKS) -> list[Named]:
    """What is imported and called where a network is built as the plans say.

    Args:
        configuration: of the plans.
        networks: packages whose networks they may name; None for any, as plans of one's own may name one's own.
    """
    options = configuration.network_arch_init_kwargs
    keys = [key for key in configuration.network_arch_init_kwargs_req_import if options.get(key) is not None]
    network: Named = ("network_class_name", configuration.network_arch_class_name, networks)
    return [network, *((key, options[key], LAYERS) for key in keys)]


def check_names(named: Iterable[Named], error: type[KitsError], whose: str, advice: str) -> None:
    """Refuse plans that name something else than a network and its layers.

    Args:
        named: from :func:`names_in`.
        error: its type.
        whose: the plans, for the message.
        advice: ends the message.

    Raises:
        KitsError: of that type: the name, and what may stand there.
    """
    for key, name, packages in named:
        if not _is_module(name, packages):
            raise error(
                f"{whose}: {key} is {name!r}, and building the network would import and call it. Allowed are modules "
                f"of {'torch' if packages is None else ', '.join(packages)}. {advice}"
            )


def _is_module(name: Any, packages: tuple[str, ...] | None) -> bool:
    """Whether a dotted path is of a module class; also where there is none of this name, which building tells."""
    if not isinstance(name, str) or not (packages is None or any(name.startswith(f"{p}.") for p in packages)):
        return False
    with contextlib.suppress(pydoc.ErrorDuringImport):
        found = pydoc.locate(name)
        return found is None or (inspect.isclass(found) and issubclass(found, nn.Module))
    return False
