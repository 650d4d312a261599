"""Networks that compute in float32 wherever they run."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def in_float32(network: nn.Module) -> nn.Module:
    """Let a network compute in float32, also where automatic mixed precision is on around it, as in nnU-Net's loops.

    Args:
        network: takes one tensor; weights and their names stay as they are.

    Returns:
        The same network.
    """
    network.forward = _in_float32(network.forward)
    return network


def _in_float32(forward: Callable[[torch.Tensor], Any]) -> Callable[[torch.Tensor], Any]:
    @functools.wraps(forward)
    def in_float32(x: torch.Tensor) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    return in_float32
