"""One model on one box of a scan: preprocess it, run the network, bring the answer back to the scan's voxels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, crop
from nnunet_kits.inference.grids import ModelGrid
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.resample import box_resampling
from nnunet_kits.inference.windows import Tiling, sliding_window
from nnunet_kits.resampling.scheme import Scheme, scheme_of

SLAB_VOXELS = 8 << 20
"""The answer is brought back in slabs of so many voxels."""

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


def scheme(model: Model, grid: ModelGrid, kind: str) -> Scheme:
    """How the plans have nnU-Net resample.

    Args:
        model: whose plans.
        grid: the scan's and the model's spacing decide whether one axis is resampled by itself.
        kind: ``data``, ``seg`` or ``probabilities``.

    Raises:
        InferenceError: the plans name a resampling of which no part can be made.
    """
    plans = model.configuration.configuration
    name: str = plans[f"resampling_fn_{kind}"]
    if name == "no_resampling_data_or_seg_to_shape":
        return Scheme(0)
    spacings = (grid.scan_spacing_mm, grid.spacing_mm)
    before, after = spacings if kind != "probabilities" else spacings[::-1]
    found = scheme_of(name, plans[f"resampling_fn_{kind}_kwargs"], before, after)
    if found is None:
        raise InferenceError(
            f"{model.folder.name}: its plans resample with {name} {plans[f'resampling_fn_{kind}_kwargs']}, of which "
            "only nnU-Net can make a part. Predict with nnUNetv2_predict, or plan with resample_data_or_seg_to_shape."
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
    extent = [stop - start for start, stop in grid.cropped]
    wanted = box_resampling(extent, grid.shape, scheme(model, grid, "seg"), box)
    needed = [(start + at, stop + at) for (start, stop), at in zip(wanted.needed, offset, strict=True)]
    labels = torch.from_numpy(coarse_labels((needed[0], needed[1], needed[2]))).to(model.device)
    nearest = box_resampling(extent, grid.shape, Scheme(0), box)
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
    wanted: Callable[[Tensor], bool] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Mean logits of a model's folds over a block; background where no window was wanted.

    Args:
        model: the model.
        block: (c, z, y, x).
        tiling: windows and flips.
        wanted: see :func:`~nnunet_kits.inference.windows.sliding_window`.
        progress: told how many windows were done.
    """
    total: Tensor | None = None
    for network in model.folds():
        found = sliding_window(network, block, tiling, model.heads, model.device, wanted, progress)
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


@torch.inference_mode()
def labels_of(answers: Sequence[Answer], box: Box) -> NDArray[np.uint8]:
    """The label map that some answers give in a box of the scan: of one, or of the mean of their probabilities.

    Args:
        answers: of models with the same labels.
        box: of the scan, in its own axis order; every answer's grid box must reach around it.

    Returns:
        (z, y, x) over the box, in the scan's axis order.
    """
    labels = np.empty([stop - start for start, stop in box], np.uint8)
    for start, stop in slabs(box):
        if len(answers) == 1:
            found = segment(answers[0].model, scan_logits(answers[0], ((start, stop), box[1], box[2])))
        else:
            found = segment(answers[0].model, mean_probabilities(answers, ((start, stop), box[1], box[2])), 0.5)
        labels[start - box[0][0] : stop - box[0][0]] = found.cpu().numpy()
    return labels


def slabs(box: Box) -> list[tuple[int, int]]:
    """A box cut along its first axis into pieces of about :data:`SLAB_VOXELS`."""
    plane = max(1, (box[1][1] - box[1][0]) * (box[2][1] - box[2][0]))
    thick = max(1, SLAB_VOXELS // plane)
    return [(start, min(box[0][1], start + thick)) for start in range(box[0][0], box[0][1], thick)]


def scan_logits(answer: Answer, box: Box) -> Tensor:
    """Logits in a box of the scan: (heads, z, y, x), float32, in the scan's axis order."""
    grid = answer.grid
    extent = [stop - start for start, stop in grid.cropped]
    turned = grid.turn(box)
    inside = [(start - at, stop - at) for (start, stop), (at, _) in zip(turned, grid.cropped, strict=True)]
    wanted = box_resampling(
        grid.shape, extent, scheme(answer.model, grid, "probabilities"), (inside[0], inside[1], inside[2])
    )
    part = answer.logits
    for axis, ((start, stop), (origin, _)) in enumerate(zip(wanted.needed, answer.box, strict=True)):
        part = part.narrow(axis + 1, start - origin, stop - start)
    back = [grid.axes.index(axis) + 1 for axis in range(3)]
    return wanted(part.float()).permute(0, *back)


def mean_probabilities(answers: Sequence[Answer], box: Box) -> Tensor:
    """Mean probabilities of several models in a box of the scan: (heads, z, y, x)."""
    total = sum(probabilities(answer.model, scan_logits(answer, box)).cpu() for answer in answers)
    return torch.as_tensor(total) / len(answers)


def probabilities(model: Model, logits: Tensor) -> Tensor:
    """Softmax over classes, or a sigmoid for each region."""
    return torch.sigmoid(logits) if model.labels.has_regions else torch.softmax(logits, 0)


def segment(model: Model, scores: Tensor, threshold: float = 0.0) -> Tensor:
    """Labels from logits (threshold 0) or probabilities (threshold 0.5): (heads, z, y, x) -> (z, y, x), uint8.

    The class with the highest score; for regions, each label in the order of ``regions_class_order``, later over
    earlier, where its region passes the threshold.
    """
    if not model.labels.has_regions:
        return scores.argmax(0).to(torch.uint8)
    labels = torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
    for score, label in zip(scores, model.labels.regions_class_order, strict=True):
        labels[score > threshold] = int(label)
    return labels
