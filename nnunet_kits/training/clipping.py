"""Another limit for the gradient than nnU-Net's, through the one object of its iteration that a trainer owns."""

from typing import Any

import torch
from torch.optim import Optimizer


class ClippingScaler(torch.amp.GradScaler):
    """A gradient scaler that limits the gradient itself, and spares it every later limit until the step.

    nnU-Net's iteration asks its scaler to undo the scaling, shortens the gradient to a norm of 12, and asks the scaler
    to step. This one shortens it to another norm when it is asked to undo, then keeps the gradients out of the
    parameters until it is asked to step. So what comes between finds none.

    Args:
        device: type of the device.
        largest_norm: of the gradient of all parameters together; None for no limit.
        scales: whether the loss is scaled, which half precision needs.
    """

    def __init__(self, device: str, largest_norm: float | None, scales: bool) -> None:
        super().__init__(device, enabled=scales)
        self.largest_norm = largest_norm
        self._aside: list[tuple[torch.nn.Parameter, torch.Tensor | None]] = []

    def unscale_(self, optimizer: Optimizer) -> None:
        """Undo the scaling, shorten the gradient, and set it aside."""
        super().unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if self.largest_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, self.largest_norm)
        self._aside = [(parameter, parameter.grad) for parameter in parameters]
        for parameter in parameters:
            parameter.grad = None

    def step(self, optimizer: Optimizer, *given: Any, **options: Any) -> float | None:
        """Give the parameters their gradients back, and step unless the scaling made one of them infinite."""
        for parameter, gradient in self._aside:
            parameter.grad = gradient
        self._aside = []
        return super().step(optimizer, *given, **options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the scaling of a checkpoint, where it has one: that of a training on a CPU has none."""
        if state_dict:
            super().load_state_dict(state_dict)
