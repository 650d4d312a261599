"""The sliding window: a network over a block, overlapping windows weighted by a Gaussian.

Same windows, weights and averages as nnU-Net's predictor. Differences: windows go through the network in batches; sums
are kept in single precision, and only of the slices that windows still to come can reach, while finished slices are
kept in half precision as nnU-Net keeps all; and windows that the caller knows to be empty are left out.

Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), online methods, "Inference".
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian, compute_steps_for_sliding_window
from torch import Tensor, nn

from nnunet_kits.geometry import Box

Starts = tuple[int, ...]
"""First voxel of a window along z, y, x."""

BATCH_VOXELS = 1 << 20
"""Windows are batched up to this many voxels: small windows alone leave a processor idle."""


@dataclass(frozen=True)
class Tiling:
    """How a block is covered.

    Attributes:
        patch_size: voxels of a window along z, y, x; a two-dimensional network has (1, y, x).
        step: distance of neighbouring windows as a share of the window, in (0, 1].
        mirror_axes: axes (0 to 2 for z, y, x) over whose flips predictions are averaged.
    """

    patch_size: tuple[int, int, int]
    step: float = 0.5
    mirror_axes: tuple[int, ...] = ()

    def starts(self, shape: Sequence[int], part: Box | None = None) -> list[Starts]:
        """Windows over a volume (padded to at least one window): nnU-Net's own positions.

        Args:
            shape: voxels along z, y, x.
            part: only the windows inside it, counted from its corner; made by :meth:`cover`.
        """
        axes = self._positions(shape)
        if part is not None:
            axes = [
                [at - first for at in axis if first <= at < max(first + 1, stop - patch + 1)]
                for axis, (first, stop), patch in zip(axes, part, self.patch_size, strict=True)
            ]
        return list(itertools.product(*axes))

    def cover(self, shape: Sequence[int], box: Box) -> Box:
        """The smallest part of a volume that is made of nnU-Net's windows over all of it and holds a box.

        Inside it every voxel is seen in the same windows as in the whole volume; only near its sides some are lacking.

        Args:
            shape: voxels of the volume along z, y, x.
            box: of the volume.
        """
        found = []
        for axis, size, patch, (start, stop) in zip(self._positions(shape), shape, self.patch_size, box, strict=True):
            first = max(at for at in axis if at <= start)
            last = min(at for at in axis if at + patch >= stop)
            found.append((min(first, last), min(size, max(first, last) + patch)))
        return found[0], found[1], found[2]

    def _positions(self, shape: Sequence[int]) -> list[Sequence[int]]:
        """Where windows start along each axis."""
        found: list[Sequence[int]] = []
        for size, patch in zip(shape, self.patch_size, strict=True):
            size = max(size, patch)
            steps = range(size) if patch == 1 else compute_steps_for_sliding_window((size,), (patch,), self.step)[0]
            found.append(steps)
        return found

    def flips(self) -> list[tuple[int, ...]]:
        """Every combination of mirrored axes, none first."""
        return [c for n in range(len(self.mirror_axes) + 1) for c in itertools.combinations(self.mirror_axes, n)]


@torch.inference_mode()
def sliding_window(
    network: nn.Module,
    block: Tensor,
    tiling: Tiling,
    starts: Sequence[Starts],
    heads: int,
    device: torch.device,
    wanted: Callable[[Tensor], bool] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Logits of one network over a block.

    Args:
        network: in evaluation mode on ``device``, without deep supervision.
        block: (c, z, y, x), float32, on any device.
        tiling: size of the windows, and flips.
        starts: of the windows in the block (padded to at least one window), ordered; together they cover it.
        heads: outputs of the network.
        device: where the network is.
        wanted: given the content of a window (c, z, y, x), whether to run the network on it; None for all.
        progress: told how many windows were done or left out.

    Returns:
        (heads, z, y, x), half precision, on ``device``, or on the CPU where that has no room; NaN where no window was
        wanted.
    """
    padded, inner = pad_nd_image(block, tiling.patch_size, "constant", {"value": 0}, True, None)
    weight = _weight(tiling.patch_size, device)
    result = _room((heads, *padded.shape[1:]), device)
    sums = _RollingSums(result, heads, tiling.patch_size[0], device)
    per_batch = max(1, BATCH_VOXELS // (int(np.prod(tiling.patch_size)) * (1 if device.type == "cpu" else 4)))
    for z, layer in itertools.groupby(starts, key=lambda start: start[0]):
        sums.advance(z)
        places_of_layer = list(layer)
        for group in np.array_split(np.array(places_of_layer), -(-len(places_of_layer) // per_batch)):
            places = [tuple(slice(s, s + p) for s, p in zip(at, tiling.patch_size, strict=True)) for at in group]
            places = [at for at in places if wanted is None or wanted(padded[(slice(None), *at)])]
            if places:
                windows = torch.stack([padded[(slice(None), *at)] for at in places]).to(device)
                logits = _mirrored(network, windows, tiling)
                for (_, rows, columns), found in zip(places, logits, strict=True):
                    sums.add(found, weight, rows, columns)
            progress(len(group))
    sums.finish()
    return result[(slice(None), *inner[1:])]


class _RollingSums:
    """Weighted sums of the slices that windows still reach; finished ones are averaged into the result.

    Args:
        result: (heads, z, y, x), to be filled.
        heads: outputs of the network.
        depth: slices of a window.
        device: where the network is.
    """

    def __init__(self, result: Tensor, heads: int, depth: int, device: torch.device) -> None:
        self.result, self.first = result, 0
        self.sums = torch.zeros((heads, depth, *result.shape[2:]), device=device)
        self.weights = torch.zeros((depth, *result.shape[2:]), device=device)

    def add(self, logits: Tensor, weight: Tensor, rows: slice, columns: slice) -> None:
        """Add a window (heads, depth, y, x) whose first slice is the one last advanced to."""
        self.sums[:, :, rows, columns] += logits * weight
        self.weights[:, rows, columns] += weight

    def advance(self, z: int) -> None:
        """Average the slices before ``z``, which no window reaches any more, and make room for as many new ones."""
        done = z - self.first
        self._average(done)
        for array in (self.sums.transpose(0, 1), self.weights):
            for index in range(len(array) - done):  # one by one, since the two ranges overlap
                array[index] = array[index + done]
            array[len(array) - done :] = 0
        self.first = z

    def finish(self) -> None:
        """Average what is left."""
        self._average(len(self.weights))

    def _average(self, count: int) -> None:
        for index in range(count):
            self.result[:, self.first + index] = self.sums[:, index] / self.weights[index]


def _weight(patch_size: tuple[int, int, int], device: torch.device) -> Tensor:
    """nnU-Net's Gaussian importance of a window's voxels."""
    size = patch_size[1:] if patch_size[0] == 1 else patch_size
    found: Tensor = compute_gaussian(size, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
    return found.float().reshape(patch_size)


def _room(shape: Sequence[int], device: torch.device) -> Tensor:
    """Where the result is kept: on the CPU if the device has no room."""
    try:
        return torch.empty(tuple(shape), dtype=torch.half, device=device)
    except torch.OutOfMemoryError:
        return torch.empty(tuple(shape), dtype=torch.half)


def _mirrored(network: nn.Module, windows: Tensor, tiling: Tiling) -> Tensor:
    """Mean of the network's answers to every flip of some windows (b, c, z, y, x)."""
    total: Tensor | None = None
    flips = tiling.flips()
    flat = tiling.patch_size[0] == 1
    with torch.autocast(windows.device.type, enabled=windows.device.type == "cuda"):
        for axes in flips:
            dims = [axis + 2 for axis in axes]
            given = torch.flip(windows, dims) if dims else windows
            found = network(given[:, :, 0])[:, :, None] if flat else network(given)
            found = torch.flip(found, dims) if dims else found
            total = found if total is None else total + found
    assert total is not None  # there is always the flip of no axis
    return total / len(flips)
