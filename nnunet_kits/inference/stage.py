"""One model on one box of a scan: preprocess it and run the network."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, crop
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.resample import box_resampling
from nnunet_kits.inference.windows import Starts, Tiling, sliding_window
from nnunet_kits.machine import keep_freed_memory
from nnunet_kits.resampling.grid import ModelGrid
from nnunet_kits.resampling.scheme import Kind, Scheme

SURE = 30.0
"""Logit of the background where no window was run; representable in half precision."""


TIE = 1e-4
"""Where two labels have the same share of a voxel, the nearest one wins by so much."""


@dataclass
class Answer:
    """A network's logits on a box of its grid.

    Attributes:
        model: whose.
        grid: of the scan.
        box: of the grid (model's axis order).
        logits: (heads, z, y, x) over the box.
    """

    model: Model
    grid: ModelGrid
    box: Box
    logits: Tensor


def scheme(model: Model, grid: ModelGrid, kind: Kind) -> Scheme:
    """How the plans have nnU-Net resample.

    Args:
        model: whose plans.
        grid: the scan's and the model's spacing decide whether one axis is resampled by itself.
        kind: what is resampled.

    Raises:
        InferenceError: the plans name a resampling of which no part can be made.
    """
    plans = model.configuration.configuration
    found = grid.scheme(kind, plans)
    if found is None:
        named, options = plans[f"resampling_fn_{kind}"], plans[f"resampling_fn_{kind}_kwargs"]
        raise InferenceError(
            f"{model.folder.name}: its plans resample with {named} {options}, of which only nnU-Net can make a part. "
            "Predict with nnUNetv2_predict, or plan with resample_data_or_seg_to_shape."
        )
    return found


def normaliser(model: Model, scan: NDArray[np.generic]) -> tuple[Callable[[Tensor], Tensor], tuple[float, float]]:
    """What the plans do to intensities, and the range of the result over the whole scan.

    Args:
        model: whose plans.
        scan: (z, y, x), what is not all zero of it.

    Raises:
        InferenceError: a normalisation that needs more than the voxel and the plans.
    """
    scheme = model.configuration.normalization_schemes[0]
    if scheme not in ("CTNormalization", "NoNormalization"):
        raise InferenceError(
            f"{model.folder.name}: its plans normalise with {scheme}; CT models use CTNormalization. "
            "Predict with nnUNetv2_predict."
        )
    lowest, highest, mean, std = -np.inf, np.inf, 0.0, 1.0
    if scheme == "CTNormalization":
        given = model.plans.foreground_intensity_properties_per_channel["0"]
        lowest, highest = float(given["percentile_00_5"]), float(given["percentile_99_5"])
        mean, std = float(given["mean"]), max(float(given["std"]), 1e-8)
    least, most = _range(scan, lowest, highest)

    def normalise(block: Tensor) -> Tensor:
        return block.clamp_(lowest, highest).sub_(mean).div_(std)

    return normalise, ((least - mean) / std, (most - mean) / std)


def _range(scan: NDArray[np.generic], lowest: float, highest: float) -> tuple[float, float]:
    """Least and greatest value of a scan, clipped; a look at every 256th voxel is enough where both clips are met."""
    few = scan[::4, ::8, ::8]
    if few.size == 0 or few.min() > lowest or few.max() < highest:
        few = scan
    return max(lowest, float(few.min())), min(highest, float(few.max()))


@torch.inference_mode()
def image_block(model: Model, scan: NDArray[np.generic], grid: ModelGrid, box: Box) -> Tensor:
    """What nnU-Net's preprocessing would hold in one box of the model's grid.

    Args:
        model: the model.
        scan: the whole scan in the model's axis order.
        grid: of the scan.
        box: of the grid.

    Returns:
        (1, z, y, x), float32, on the model's device.
    """
    inside = crop(scan, grid.cropped)
    normalise, (least, most) = normaliser(model, inside)
    wanted = box_resampling(inside.shape, grid.shape, scheme(model, grid, "data"), box)
    block = np.array(crop(inside, wanted.needed), dtype=np.float32, order="C")  # a copy: it is normalised in place
    tensor = normalise(torch.from_numpy(block).to(model.device))
    return wanted(tensor).clamp_(least, most)[None]


def label_block(model: Model, coarse_labels: Callable[[Box], NDArray[np.uint8]], grid: ModelGrid, box: Box) -> Tensor:
    """The coarse label map in one box of a cascade's grid, one channel a foreground label.

    Args:
        model: the cascade's fine model.
        coarse_labels: gives the coarse label map in a box of the scan; box and result in the model's axis order.
        grid: of the scan.
        box: of the grid.

    Returns:
        (labels, z, y, x), float32, on the model's device.
    """
    offset = [start for start, _ in grid.cropped]
    wanted = box_resampling(grid.extent, grid.shape, scheme(model, grid, "seg"), box)
    needed = [(start + at, stop + at) for (start, stop), at in zip(wanted.needed, offset, strict=True)]
    labels = torch.from_numpy(coarse_labels((needed[0], needed[1], needed[2]))).to(model.device)
    nearest = box_resampling(grid.extent, grid.shape, Scheme(0), box)
    origin = [start - first for (start, _), (first, _) in zip(nearest.needed, wanted.needed, strict=True)]
    inside = labels[
        tuple(slice(at, at + stop - start) for at, (start, stop) in zip(origin, nearest.needed, strict=True))
    ]
    closest = nearest(inside.float())
    resampled = torch.zeros_like(closest)
    best = torch.full_like(closest, -1.0)
    for label in torch.unique(labels).tolist():
        share = wanted((labels == label).float()) + TIE * (closest == label)
        resampled[share > best] = label
        best = torch.maximum(best, share)
    return torch.stack([(resampled == int(label)).float() for label in model.labels.foreground_labels])


@torch.inference_mode()
def run_network(
    model: Model,
    block: Tensor,
    tiling: Tiling,
    starts: Sequence[Starts],
    wanted: Callable[[Tensor], bool] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Mean logits of a model's folds over a block; background where no window was wanted.

    Args:
        model: the model.
        block: (c, z, y, x).
        tiling: windows and flips.
        starts: of the windows in the block.
        wanted: see :func:`~nnunet_kits.inference.windows.sliding_window`.
        progress: told how many windows were done.
    """
    total: Tensor | None = None
    with keep_freed_memory() if model.device.type == "cpu" else nullcontext():
        for network in model.folds():
            found = sliding_window(network, block, tiling, starts, model.heads, model.device, wanted, progress)
            total = found if total is None else total.add_(found)
    assert total is not None  # a model has at least one fold
    if len(model.weights) > 1:
        total /= len(model.weights)
    if wanted is not None:
        nowhere = torch.isnan(total[0])
        for head in range(model.heads):
            background = head == 0 and not model.labels.has_regions
            total[head].masked_fill_(nowhere, SURE if background else -SURE)
    return total
