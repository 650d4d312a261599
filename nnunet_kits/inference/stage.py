"""One model on one box of a scan: preprocess it and run the network."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, copy_planes, crop
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.tiling import Average, Starts, Tiling
from nnunet_kits.inference.windows import sliding_window
from nnunet_kits.intensity import Intensity, planned_intensity
from nnunet_kits.machine import freed_memory_kept
from nnunet_kits.resampling.boxes import box_resampling
from nnunet_kits.resampling.grid import ModelGrid
from nnunet_kits.resampling.labels import label_resampling
from nnunet_kits.resampling.scheme import Kind, Scheme

SURE = 30.0
"""Logit of the background where no window was run; representable in half precision."""


@dataclass
class Answer:
    """What a network says about a box of its grid.

    Attributes:
        model: whose.
        grid: of the scan.
        box: of the grid (model's axis order).
        scores: (heads, z, y, x) over the box.
        kind: of the scores.
        members: label maps (z, y, x) over the box of each fold, or of each flip where there is one fold; none unless
            they were asked for.
    """

    model: Model
    grid: ModelGrid
    box: Box
    scores: Tensor
    kind: Average = "logits"
    members: Sequence[Tensor] = ()

    @property
    def threshold(self) -> float:
        """A region is where its score is above this."""
        return 0.0 if self.kind == "logits" else 0.5


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


def intensity(model: Model) -> Intensity:
    """What the plans do to intensities.

    Raises:
        InferenceError: a normalisation that needs more than the voxel and the plans.
    """
    found = planned_intensity(model.plans.plans, model.configuration.configuration)
    if found is None:
        raise InferenceError(
            f"{model.folder.name}: its plans normalise with {model.configuration.normalization_schemes[0]}; CT models "
            "use CTNormalization. Predict with nnUNetv2_predict."
        )
    return found


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
    inside, normalised = crop(scan, grid.cropped), intensity(model)
    wanted = box_resampling(grid.extent, grid.shape, scheme(model, grid, "data"), box)
    source = crop(inside, wanted.needed)
    block = np.empty(source.shape, np.float32)
    copy_planes(source, block, normalised)
    return wanted(torch.from_numpy(block).to(model.device)).clamp_(*normalised.range_of(inside))[None]


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
    wanted = label_resampling(grid.extent, grid.shape, scheme(model, grid, "seg"), box)
    z, y, x = ((start + at, stop + at) for (start, stop), (at, _) in zip(wanted.needed, grid.cropped, strict=True))
    labels = torch.from_numpy(wanted(coarse_labels((z, y, x)))).to(model.device)
    return torch.stack([(labels == int(label)).float() for label in model.labels.foreground_labels])


@torch.inference_mode()
def run_network(
    model: Model,
    block: Tensor,
    tiling: Tiling,
    starts: Sequence[Starts],
    wanted: Callable[[Tensor], bool] | None = None,
    progress: Callable[[int], None] = lambda _: None,
    average: Average = "logits",
    member: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Mean of what a model's folds say about a block; background where no window was wanted.

    Args:
        model: the model.
        block: (c, z, y, x).
        tiling: windows and flips.
        starts: of the windows in the block.
        wanted: see :func:`~nnunet_kits.inference.windows.sliding_window`.
        progress: told how many windows were done.
        average: what is averaged.
        member: is shown what each fold says; where there is only one, what it says of each flip, and every flip is led
            over the block by itself.
    """
    flipped = member is not None and len(model.weights) == 1
    tilings = [replace(tiling, only=axes) for axes in tiling.flips()] if flipped else [tiling]
    activate = partial(model.probabilities, axis=1) if average == "probabilities" else None
    total: Tensor | None = None
    with freed_memory_kept() if model.device.type == "cpu" else nullcontext():
        for network in model.folds():
            for one in tilings:
                found = sliding_window(
                    network, block, one, starts, model.heads, model.device, wanted, progress, activate
                )
                if member is not None:
                    member(found)
                if flipped:  # several of half precision are summed in single, and the mean rounded once
                    found = found.float()
                total = found if total is None else total.add_(found)
    assert total is not None  # a model has at least one fold
    if len(model.weights) * len(tilings) > 1:
        total /= len(model.weights) * len(tilings)
    if flipped:
        total = total.half()
    if wanted is not None:
        nowhere = torch.isnan(total[0])
        for head in range(model.heads):
            background = head == 0 and not model.labels.has_regions
            sure = float(background) if activate else SURE if background else -SURE
            total[head].masked_fill_(nowhere, sure)
    return total
