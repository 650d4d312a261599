"""Builds a loss by its name, with parameters that a plans file may give."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from torch import nn

from nnunet_kits.errors import TrainingError
from nnunet_kits.losses import LOSSES, LossTask


def build_loss(name: str, task: LossTask, parameters: Mapping[str, float] | None = None) -> nn.Module:
    """Build a loss for one resolution.

    Args:
        name: key of ``LOSSES``.
        task: what the loss must know.
        parameters: those that differ from the loss's defaults.

    Returns:
        Module of (logits, target) -> scalar: logits (b, c, [z,] y, x), target (b, 1 or regions, [z,] y, x).

    Raises:
        TrainingError: an unknown loss or parameter, or a value out of its range.
    """
    check_parameters(name, parameters or {})
    return _builder(name)(task, **(parameters or {}))


def check_parameters(name: str, given: Mapping[str, Any]) -> None:
    """Refuse parameters that a loss does not have, and values out of their range.

    Args:
        name: key of ``LOSSES``.
        given: parameter -> value.

    Raises:
        TrainingError: an unknown loss or parameter, or a value out of its range.
    """
    known = loss_parameters(name)
    hints = get_type_hints(_builder(name), include_extras=True)
    for parameter, value in given.items():
        if parameter not in known:
            raise TrainingError(f"loss {name} has no parameter {parameter!r}. It has: {', '.join(known) or 'none'}.")
        (allowed,) = hints[parameter].__metadata__
        allowed.check(name, parameter, value)


def loss_parameters(name: str) -> dict[str, float]:
    """Parameter -> default of a loss.

    Raises:
        TrainingError: an unknown loss.
    """
    signature = inspect.signature(_builder(name)).parameters.values()
    return {p.name: p.default for p in signature if p.kind is inspect.Parameter.KEYWORD_ONLY}


def _builder(name: str) -> Callable[..., nn.Module]:
    if name not in LOSSES:
        raise TrainingError(f"no loss is called {name!r}. Known: {', '.join(LOSSES)}.")
    module, _, builder = LOSSES[name].factory.rpartition(".")
    found: Callable[..., nn.Module] = getattr(importlib.import_module(module), builder)
    return found
