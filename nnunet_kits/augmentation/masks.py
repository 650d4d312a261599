"""The cascade's channels, disturbed as nnU-Net disturbs them: inside the organ's box, 64 voxels at a time."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from acvl_utils.morphology.morphology_helper import label_with_component_sizes
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform
from batchgeneratorsv2.transforms.nnunet import random_binary_operator as operators
from batchgeneratorsv2.transforms.nnunet.random_binary_operator import ApplyRandomBinaryOperatorTransform
from skimage.morphology import ball, disk

from nnunet_kits.augmentation import mask_kernels as kernels
from nnunet_kits.augmentation.drawn import Drawn


@functools.lru_cache(maxsize=64)
def _element(size: float, planar: bool) -> np.ndarray:
    return np.atleast_3d(disk(size, dtype=bool).T).T if planar else ball(size, dtype=bool)


def runs_of(element: np.ndarray) -> np.ndarray:
    """A structuring element (z, y, x) as runs along its lines.

    Returns:
        int64 (runs, 4): z and y from its middle voxel, first and last x; shorter ones first.
    """
    middle = [(edge - 1) // 2 for edge in element.shape]
    runs = []
    for z, y in np.argwhere(element.any(2)):
        line = np.flatnonzero(np.diff(np.pad(element[z, y].astype(np.int8), 1)))
        ends = line.reshape(-1, 2) - middle[2]
        runs += [(z - middle[0], y - middle[1], first, last - 1) for first, last in ends]
    return np.array(sorted(runs, key=lambda run: (run[3] - run[2], *run[2:])), dtype=np.int64).reshape(-1, 4)


def _dilate(mask: np.ndarray, width: int, runs: np.ndarray) -> np.ndarray:
    out = np.empty_like(mask)
    kernels.dilate(mask, width, runs, out)
    return out


def _erode(mask: np.ndarray, width: int, runs: np.ndarray) -> np.ndarray:
    outside = mask.copy()
    kernels.invert(outside, width)
    out = _dilate(outside, width, runs)
    kernels.invert(out, width)
    return out


def _open(mask: np.ndarray, width: int, runs: np.ndarray) -> np.ndarray:
    return _dilate(_erode(mask, width, runs), width, runs)


def _close(mask: np.ndarray, width: int, runs: np.ndarray) -> np.ndarray:
    return _erode(_dilate(mask, width, runs), width, runs)


OPERATORS: dict[Callable[..., Any], Callable[[np.ndarray, int, np.ndarray], np.ndarray]] = {
    operators.binary_dilation_torch: _dilate,
    operators.binary_erosion_torch: _erode,
    operators.binary_opening_torch: _open,
    operators.binary_closing_torch: _close,
}
"""nnU-Net's operators -> ours on packed masks, (z, y, words), voxels of a line and runs."""


def _as_volumes(img: torch.Tensor) -> np.ndarray:
    array: np.ndarray = img.numpy()
    return array[:, None] if array.ndim == 3 else array


def organ_box(channel: np.ndarray) -> list[tuple[int, int]] | None:
    """The box around what is not 0 in a channel (z, y, x), or None where nothing is."""
    bounds = np.empty((3, 2), np.int64)
    kernels.box_of(channel, bounds)
    return None if bounds[0, 0] >= bounds[0, 1] else [(int(a), int(b)) for a, b in bounds]


class BinaryOperators(Drawn, ImageOnlyTransform):
    """nnU-Net's ``ApplyRandomBinaryOperatorTransform`` inside the organ's box."""

    @staticmethod
    def knows(stock: ApplyRandomBinaryOperatorTransform) -> bool:
        """Whether all its operators are among those we know."""
        return all(operator in OPERATORS for operator in stock.any_of_these)

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        if img.dtype != torch.float32:
            return self.stock._apply_to_image(img, **params)
        volumes = _as_volumes(img)
        drawn = (params["apply_to_channels"], params["operators"], params["strel_size"])
        for channel, operator, size in zip(*drawn, strict=True):
            others = [other for other in self.stock.channel_idx if other != channel]
            change(volumes, channel, others, OPERATORS[operator], _element(float(size), img.ndim == 3))
        return img


def change(
    volumes: np.ndarray,
    channel: int,
    others: list[int],
    operator: Callable[[np.ndarray, int, np.ndarray], np.ndarray],
    element: np.ndarray,
) -> None:
    """Apply an operator to one channel of (channels, z, y, x), in place; the others lose what it gains."""
    box: list[tuple[int, int]] | None = [(0, edge) for edge in volumes.shape[1:]]
    if element[tuple((edge - 1) // 2 for edge in element.shape)]:  # else it moves masks, and fills the empty ones
        box = organ_box(volumes[channel])
    if box is None:
        return
    # Wide enough for two steps: nothing new comes so far, and what lies beyond does not reach back to the organ.
    margins = [2 * edge for edge in element.shape]
    sides = zip(box, margins, volumes.shape[1:], strict=True)
    inside = tuple(slice(max(0, a - margin), min(edge, b + margin)) for (a, b), margin, edge in sides)
    part = volumes[channel][inside]
    before = np.empty((*part.shape[:2], (part.shape[2] + 63) // 64), np.uint64)
    kernels.pack(part, before)
    after = operator(before, part.shape[2], runs_of(element))
    rest = np.stack([volumes[other][inside] for other in others]) if others else np.empty((0, *part.shape), np.float32)
    kernels.write(before, after, part, rest)
    for other, values in zip(others, rest, strict=True):
        volumes[other][inside] = values


class RemoveComponent(Drawn, ImageOnlyTransform):
    """nnU-Net's ``RemoveRandomConnectedComponentFromOneHotEncodingTransform`` inside the organ's box."""

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        if img.dtype != torch.float32:
            return self.stock._apply_to_image(img, **params)
        volumes = _as_volumes(img)
        most = img[0].numel() * self.stock.dont_do_if_covers_more_than_x_percent
        for channel in params["apply_to_channels"]:
            box = organ_box(volumes[channel])
            if box is None:
                continue
            inside = tuple(slice(a, b) for a, b in box)
            part = volumes[channel][inside]
            labels, sizes = label_with_component_sizes(part != 0)
            small = [component for component, size in sizes.items() if size < most]
            if not small:
                continue
            chosen = labels == np.random.choice(small)
            part[chosen] = 0
            others = [other for other in self.stock.channel_idx if other != channel]
            if np.random.uniform() < self.stock.fill_with_other_class_p and others:
                volumes[np.random.choice(others)][inside][chosen] = 1
        return img
