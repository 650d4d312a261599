"""The sliding window: a network over a block, overlapping windows weighted and averaged.

Same windows, weights and averages as nnU-Net's predictor, unless a :class:`~nnunet_kits.inference.tiling.Tiling` asks
for others. Differences: windows go through the network in batches; sums are kept in single precision, and only of the
slices that windows still to come can reach, while finished slices are kept in half precision as nnU-Net keeps all; and
windows that the caller knows to be empty are left out.

Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), online methods, "Inference".
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from numpy.typing import NDArray
from torch import Tensor, nn

from nnunet_kits.inference.tiling import Starts, Tiling

BATCH_VOXELS = 1 << 20
"""Windows are batched up to this many voxels: small windows alone leave a processor idle."""


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
    activate: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """What one network says about a block: its logits, or what is made of them before anything is averaged.

    Args:
        network: in evaluation mode on ``device``, without deep supervision.
        block: (c, z, y, x), float32, on any device.
        tiling: size of the windows, and flips.
        starts: of the windows in the block (padded to at least one window), ordered; together they cover it.
        heads: outputs of the network.
        device: where the network is.
        wanted: given the content of a window (c, z, y, x), whether to run the network on it; None for all.
        progress: told how many windows were done or left out.
        activate: makes probabilities of logits (b, heads, z, y, x); None to average logits.

    Returns:
        (heads, z, y, x), half precision, on ``device``, or on the CPU where that has no room; NaN where no window was
        wanted.
    """
    padded, inner = _padded(block, tiling)
    weight = _weight(tiling, device)
    result = _room((heads, *padded.shape[1:]), device)
    sums = _RollingSums(result, heads, tiling.patch_size[0], device)
    per_batch = max(1, BATCH_VOXELS // (int(np.prod(tiling.patch_size)) * (1 if device.type == "cpu" else 4)))
    for group in _batches(starts, per_batch, tiling.patch_size[0] == 1):
        places = [tuple(slice(s, s + p) for s, p in zip(at, tiling.patch_size, strict=True)) for at in group]
        run = [wanted is None or wanted(padded[(slice(None), *at)]) for at in places]
        found: Iterator[Tensor] = iter(())
        if any(run):
            windows = torch.stack([padded[(slice(None), *at)] for at in itertools.compress(places, run)]).to(device)
            found = iter(_mirrored(network, windows, tiling, activate))
        for at, was_run in zip(places, run, strict=True):
            sums.advance(at[0].start)
            if was_run:
                sums.add(next(found), weight, at[1], at[2])
        progress(len(group))
    sums.finish()
    return result[(slice(None), *inner[1:])]


def _batches(starts: Sequence[Starts], size: int, across: bool) -> Iterator[NDArray[np.int_]]:
    """First voxels (n, 3) of windows, in about equal batches: of one layer each, or ``across`` layers of one slice."""
    layers = [starts] if across else [list(layer) for _, layer in itertools.groupby(starts, key=lambda at: at[0])]
    for layer in layers:
        yield from np.array_split(np.array(layer), -(-len(layer) // size))


def _padded(block: Tensor, tiling: Tiling) -> tuple[Tensor, tuple[slice, ...]]:
    """A block in the middle of at least one window, and where it is: the image padded as asked, labels with 0."""
    padded, inner = pad_nd_image(block, tiling.patch_size, "constant", {"value": 0}, True, None)
    if tiling.padding and padded.shape != block.shape:
        padded[0] = tiling.padding
        padded[(0, *inner[1:])] = block[0]
    return padded, inner


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
        if not done:
            return
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


def _weight(tiling: Tiling, device: torch.device) -> Tensor:
    """Importance of a window's voxels: nnU-Net's Gaussian, or the same everywhere."""
    if tiling.weighting == "uniform":
        return torch.ones(tiling.patch_size, device=device)
    size = tiling.patch_size[1:] if tiling.patch_size[0] == 1 else tiling.patch_size
    found: Tensor = compute_gaussian(size, sigma_scale=1.0 / 8, value_scaling_factor=10, device=device)
    return found.float().reshape(tiling.patch_size)


def _room(shape: Sequence[int], device: torch.device) -> Tensor:
    """Where the result is kept: on the CPU if the device has no room."""
    try:
        return torch.empty(tuple(shape), dtype=torch.half, device=device)
    except torch.OutOfMemoryError:
        return torch.empty(tuple(shape), dtype=torch.half)


def _mirrored(
    network: nn.Module, windows: Tensor, tiling: Tiling, activate: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """Mean of the network's answers to every flip of some windows (b, c, z, y, x)."""
    total: Tensor | None = None
    flips = tiling.flips()
    flat = tiling.patch_size[0] == 1
    with torch.autocast(windows.device.type, enabled=windows.device.type == "cuda"):
        for axes in flips:
            dims = [axis + 2 for axis in axes]
            given = torch.flip(windows, dims) if dims else windows
            found = network(given[:, :, 0])[:, :, None] if flat else network(given)
            found = found if activate is None else activate(found.float())
            found = torch.flip(found, dims) if dims else found
            total = found if total is None else total + found
    assert total is not None  # there is always the flip of no axis
    return total / len(flips)
