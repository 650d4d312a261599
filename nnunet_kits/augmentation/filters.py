"""Gaussian blur and simulated low resolution: axis by axis, with nnU-Net's parameters and draws."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import blur_dimension
from torch.nn.functional import interpolate

from nnunet_kits.augmentation import filter_kernels as kernels
from nnunet_kits.augmentation.drawn import Drawn
from nnunet_kits.augmentation.set_spatial import TRUNCATE


def gaussian_taps(sigma: float) -> np.ndarray:
    """nnU-Net's kernel for a standard deviation in voxels: what its blur makes of a single voxel."""
    reach = math.ceil(3 * sigma) + 3
    impulse = torch.zeros(1, 4 * reach + 1)
    impulse[0, 2 * reach] = 1
    response = blur_dimension(impulse, sigma, 0)[0].numpy()
    half = int(np.abs(np.flatnonzero(response) - 2 * reach).max())
    return response[2 * reach - half : 2 * reach + half + 1].copy()


def smooth(volume: np.ndarray, sigma: float) -> np.ndarray:
    """A contiguous volume blurred along every axis, as :func:`~nnunet_kits.augmentation.set_spatial.smooth` does it."""
    reach = int(TRUNCATE * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return convolved(volume.copy(), [(taps / taps.sum()).astype(np.float32)] * volume.ndim)


def convolved(source: np.ndarray, taps_of_axes: Sequence[np.ndarray]) -> np.ndarray:
    """A contiguous channel ([z,] y, x) convolved along every axis, reflected at the borders; the source is used up."""
    shape = source.shape
    for axis, taps in enumerate(taps_of_axes):
        if axis == len(shape) - 1:
            lines = source.reshape(-1, shape[-1])
            kernels.blur_along(lines, taps, lines)
        else:
            blurred = np.empty_like(source)
            ways = (math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
            kernels.blur_across(source.reshape(ways), taps, blurred.reshape(ways))
            source = blurred
    return source


class SeparableBlur(Drawn, ImageOnlyTransform):
    """nnU-Net's ``GaussianBlurTransform``, the kernels along one axis not convolved as volumes."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        channels = params["apply_to_channel"].nonzero().flatten().tolist()
        widest = np.max(params["sigmas"], initial=0.0)
        if img.dtype != torch.float32 or not img.is_contiguous() or 3 * widest + 3 >= min(img.shape[1:]):
            return self.stock._apply_to_image(img, **params)
        for number, channel in enumerate(channels):
            sigmas = params["sigmas"] if self.stock.synchronize_channels else params["sigmas"][number]
            taps = [gaussian_taps(float(sigma)) for sigma in sigmas]
            img[channel].copy_(torch.from_numpy(convolved(img[channel].numpy(), taps)))
        return img


@functools.lru_cache(maxsize=64)
def coarse_axis(n: int, coarse: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An axis of ``n`` voxels, ``coarse`` of them kept and interpolated between, as torch keeps and interpolates them.

    Returns:
        The kept voxels; for each voxel the kept one before, the one after and the share of the latter.
    """
    chosen = interpolate(torch.arange(n, dtype=torch.float32)[None, None], [coarse], mode="nearest-exact")[0, 0]
    ratio = np.float32(coarse) / np.float32(n)
    places = ratio * (np.arange(n, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    places = np.maximum(places, np.float32(0))
    lower = np.minimum(places.astype(np.int64), coarse - 1)
    upper = np.minimum(lower + 1, coarse - 1)
    return chosen.to(torch.int64).numpy(), lower, upper, places - lower.astype(np.float32)


class LowResolution(Drawn, ImageOnlyTransform):
    """nnU-Net's ``SimulateLowResolutionTransform``, interpolated line by line."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        shape = tuple(img.shape[1:])
        grids = [
            [round(edge * scale.item()) for edge, scale in zip(shape, scales, strict=True)]
            for scales in params["scales"]
        ]
        if img.dtype != torch.float32 or not img.is_contiguous() or any(0 in grid for grid in grids):
            return self.stock._apply_to_image(img, **params)
        more = 3 - len(shape)
        for channel, grid in zip(params["apply_to_channel"], grids, strict=True):
            axes = [coarse_axis(1, 1)] * more + [coarse_axis(n, c) for n, c in zip(shape, grid, strict=True)]
            volume = img[int(channel)].numpy().reshape((1,) * more + shape)
            kernels.interpolate_from(volume, *(tuple(part) for part in zip(*axes, strict=True)))
        return img
