"""Mixup: the network learns on weighted sums of two images, and on the same weighted sum of the losses of both targets.

The loss of a mixed image is ``share * loss(first target) + (1 - share) * loss(second target)``. For cross-entropy that
is the loss of the mixed one-hot target, and it exists for every loss, for regions and with an ignore label.

Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", arXiv:1710.09412.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

DEFAULT_ALPHA = 0.2
"""Both parameters of the beta distribution that shares are drawn from. Source: as above, 0.2 for ImageNet."""


@dataclass(frozen=True)
class Pairing:
    """Who is mixed with whom.

    Attributes:
        share: weight of an image itself, from 0 to 1.
        partners: index of the image that it is mixed with, for each of the batch.
    """

    share: float
    partners: torch.Tensor

    def mix(self, images: torch.Tensor) -> torch.Tensor:
        """Images (b, c, [z,] y, x), each mixed with its partner."""
        return self.share * images + (1 - self.share) * images[self.partners.to(images.device)]


def draw(images: int, alpha: float) -> Pairing:
    """A share, and for every image of a batch another one of it."""
    return Pairing(float(np.random.beta(alpha, alpha)), torch.arange(images).roll(np.random.randint(1, images)))


class MixupLoss(nn.Module):
    """A loss that looks at the targets of both images of a pair while ``pairing`` is set, else the loss itself."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.pairing: Pairing | None = None

    def forward(self, output: Any, target: Any) -> torch.Tensor:
        """Output and target as the loss takes them: tensors, or lists of one per resolution."""
        own: torch.Tensor = self.loss(output, target)
        if self.pairing is None:
            return own
        many = isinstance(target, list)
        partners = self.pairing.partners.to(target[0].device if many else target.device)
        other = [scale[partners] for scale in target] if many else target[partners]
        return self.pairing.share * own + (1 - self.pairing.share) * self.loss(output, other)
