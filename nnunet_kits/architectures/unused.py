"""Weights that have no part in what a network puts out, such as lower outputs without deep supervision."""

import torch
from torch import nn


def freeze_unused(network: nn.Module, size: tuple[int, ...]) -> None:
    """Take the weights that no output depends on out of the training.

    torch's DistributedDataParallel waits for the gradient of every weight that is trained, and fails if one never
    comes.

    Args:
        network: puts out one tensor.
        size: of an input, (b, c, [z,] y, x).
    """
    trains, weights = network.training, list(network.parameters())
    output = network.eval()(torch.zeros(size, device=weights[0].device))
    gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.requires_grad_(gradient is not None)
    network.train(trains)
