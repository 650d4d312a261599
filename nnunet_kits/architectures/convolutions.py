"""Convolutions that keep or divide the size: what the blocks of several networks are made of."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

Convolution = Callable[..., Any]
"""``torch.nn.Conv2d`` or ``torch.nn.Conv3d``."""


def same_convolution(
    conv_op: Convolution, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], bias: bool = True
) -> Any:
    """A convolution whose output has the input's size, divided by the stride where that divides it."""
    return conv_op(inputs, outputs, kernel, stride, padding=[(k - 1) // 2 for k in kernel], bias=bias)


def conv_norm_act(convolution: nn.Module, norm: nn.Module, activation: nn.Module) -> nn.Sequential:
    """Convolution, norm, activation, in this order."""
    return nn.Sequential(convolution, norm, activation)
