"""Contrast and gamma: as few passes over the voxels as they need, with nnU-Net's parameters and draws."""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform

from nnunet_kits.augmentation import filter_kernels as kernels
from nnunet_kits.augmentation.drawn import Drawn

SMALLEST = np.float32(1e-7)
"""What nnU-Net divides by at least."""


class _Intensity(Drawn, ImageOnlyTransform):
    """A transform that changes all voxels of a channel."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        if img.dtype != torch.float32 or not img.is_contiguous() or img[0].numel() < 2:
            return self.stock._apply_to_image(img, **params)
        for number, channel in enumerate(params["apply_to_channel"].tolist()):
            self._change(img[channel].view(-1), number, params)
        return img

    @abstractmethod
    def _change(self, values: torch.Tensor, number: int, params: dict[str, Any]) -> None:
        """Change the values of the ``number``-th of the chosen channels, in place."""


class Contrast(_Intensity):
    """nnU-Net's ``ContrastTransform`` in two passes."""

    stock: ContrastTransform

    def _change(self, values: torch.Tensor, number: int, params: dict[str, Any]) -> None:
        mean, _, low, high = kernels.statistics(values.numpy(), np.float32(1))
        if not self.stock.preserve_range:
            low, high = np.float32(-np.inf), np.float32(np.inf)
        kernels.stretch(values.numpy(), mean, np.float32(params["multipliers"][number]), low, high)


class Gamma(_Intensity):
    """nnU-Net's ``GammaTransform`` in four passes."""

    stock: GammaTransform

    def _change(self, values: torch.Tensor, number: int, params: dict[str, Any]) -> None:
        array = values.numpy()
        sign = np.float32(-1 if params["invert_image"][number] else 1)
        mean, deviation, low, high = kernels.statistics(array, sign)
        kernels.unit_power(array, sign, low, max(high - low, SMALLEST), np.float32(params["gamma"][number]))
        factor, shift = high - low, low
        if params["retain_stats"][number]:
            mean_here, deviation_here, _, _ = kernels.statistics(array, np.float32(1))
            grown = deviation / max(deviation_here * factor, SMALLEST)
            factor, shift = factor * grown, mean - mean_here * factor * grown
        kernels.scale_shift(array, sign * factor, sign * shift)
