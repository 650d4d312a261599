"""From a network's answer on its grid back to the scan: resampled, and every voxel's label decided.

nnU-Net resamples the logits of every class over the whole scan and takes the largest. Linear interpolation averages: a
voxel between grid samples that all have one label has that label too. So on a CPU only the voxels between samples of
different labels, the rims of organs, are interpolated at all; on a GPU, where that search would cost more than it
saves, everything is, a slab at a time.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_kits.geometry import Box
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.stage import Answer, scheme
from nnunet_kits.resampling.boxes import BoxResampling, box_resampling
from nnunet_kits.resampling.cells import Points, Taps, corners, in_chunks, mixed_places, of_box, spread, taps_along
from nnunet_kits.resampling.grid import ModelGrid

SLAB_VOXELS = 8 << 20
"""The answer is brought back in slabs of so many voxels."""

MIXED_SHARE = 0.2
"""Where more than this share of a slab lies between different labels, interpolating all of it is faster."""


@torch.inference_mode()
def labels_of(answers: Sequence[Answer], box: Box) -> NDArray[np.uint8]:
    """The label map that some answers give in a box of the scan: of one, or of the mean of their probabilities.

    Args:
        answers: of models with the same labels.
        box: of the scan, in its own axis order; every answer's grid box must reach around it.

    Returns:
        (z, y, x) over the box, in the scan's axis order. It equals nnU-Net's except where two classes are equal within
        rounding.
    """
    labels = np.empty([stop - start for start, stop in box], np.uint8)
    taps = _taps(answers[0]) if len(answers) == 1 and answers[0].scores.device.type == "cpu" else None
    for start, stop in slabs(box):
        slab = ((start, stop), box[1], box[2])
        found = _between_samples(answers[0], taps, slab) if taps is not None else None
        if found is None:
            found = _everywhere(answers, slab)
        labels[start - box[0][0] : stop - box[0][0]] = found
    return labels


def slabs(box: Box) -> list[tuple[int, int]]:
    """A box cut along its first axis into pieces of about :data:`SLAB_VOXELS`."""
    plane = max(1, (box[1][1] - box[1][0]) * (box[2][1] - box[2][0]))
    thick = max(1, SLAB_VOXELS // plane)
    return [(start, min(box[0][1], start + thick)) for start in range(box[0][0], box[0][1], thick)]


def samples_for(model: Model, grid: ModelGrid, box: Box) -> Box:
    """The box of a model's grid from which the labels in a box of the scan are made."""
    needed = _resampling(model, grid, box).needed
    z, y, x = ((max(0, start - 1), min(size, stop + 1)) for (start, stop), size in zip(needed, grid.shape, strict=True))
    return z, y, x  # one more on each side: a sample that is hit exactly has a neighbour of weight 0


def scan_scores(answer: Answer, box: Box) -> Tensor:
    """Logits in a box of the scan: (heads, z, y, x), float32, in the scan's axis order."""
    grid = answer.grid
    wanted = _resampling(answer.model, grid, box)
    part = answer.scores
    for axis, ((start, stop), (origin, _)) in enumerate(zip(wanted.needed, answer.box, strict=True)):
        part = part.narrow(axis + 1, start - origin, stop - start)
    back = [grid.axes.index(axis) + 1 for axis in range(3)]
    return wanted(part.float()).permute(0, *back)


def mean_probabilities(answers: Sequence[Answer], box: Box) -> Tensor:
    """Mean probabilities of several models in a box of the scan: (heads, z, y, x)."""
    total = torch.zeros(())
    for answer in answers:
        scores = scan_scores(answer, box)
        total = total + (answer.model.probabilities(scores) if answer.kind == "logits" else scores).cpu()
    return total / len(answers)


def segment(model: Model, scores: Tensor, threshold: float = 0.0) -> Tensor:
    """Labels from logits (threshold 0) or probabilities (threshold 0.5): (heads, z, y, x) -> (z, y, x), uint8.

    The class with the highest score; for regions, each label in the order of ``regions_class_order``, later over
    earlier, where its region passes the threshold.
    """
    deciding = _deciding(model, scores, threshold)
    return _written(model, scores.device)[deciding.long()] if model.labels.has_regions else deciding


def _everywhere(answers: Sequence[Answer], box: Box) -> NDArray[np.uint8]:
    """Labels of a box of the scan, all of it interpolated."""
    model = answers[0].model
    alone = len(answers) == 1
    scores = scan_scores(answers[0], box) if alone else mean_probabilities(answers, box)
    found: NDArray[np.uint8] = segment(model, scores, answers[0].threshold if alone else 0.5).cpu().numpy()
    return found


def _between_samples(answer: Answer, taps: Sequence[Taps], box: Box) -> NDArray[np.uint8] | None:
    """Labels of a box of the scan, interpolated only between different samples; None where that is most of it."""
    needed, here = of_box(taps, _inside(answer.grid, box))
    held = [
        slice(part.start - origin, part.stop - origin) for part, (origin, _) in zip(needed, answer.box, strict=True)
    ]
    part = answer.scores[(slice(None), *held)]
    samples = _deciding(answer.model, part, answer.threshold).numpy()
    places = mixed_places(samples, here)
    decided = spread(samples, [tap.samples[0] for tap in here])
    if len(places[0]) > MIXED_SHARE * decided.size:
        return None
    flat = part.reshape(len(part), -1)
    for piece in in_chunks(len(places[0])):
        some = (places[0][piece], places[1][piece], places[2][piece])
        scores = _interpolated(flat, samples.shape, here, some)
        decided[some] = _deciding(answer.model, scores, answer.threshold).numpy()
    found: NDArray[np.uint8] = _written(answer.model, part.device).numpy()[decided]
    return found.transpose([answer.grid.axes.index(axis) for axis in range(3)])


def _interpolated(flat: Tensor, shape: Sequence[int], taps: Sequence[Taps], places: Points) -> Tensor:
    """Logits at some voxels: (heads, n), float32.

    Args:
        flat: (heads, samples).
        shape: of the samples.
        taps: of the voxels along each axis.
        places: the voxels.
    """
    total = torch.zeros((len(flat), len(places[0])))
    for index, weight in corners(taps, shape, places):
        total += flat.index_select(1, torch.from_numpy(index)).float() * torch.from_numpy(weight.astype(np.float32))
    return total


def _deciding(model: Model, scores: Tensor, threshold: float) -> Tensor:
    """Which output decides: the class with the highest score; 1 + the last region above the threshold, 0 if none is.

    Args:
        model: has classes or regions.
        scores: (heads, ...).
        threshold: of regions.
    """
    deciding = torch.zeros(scores.shape[1:], dtype=torch.uint8, device=scores.device)
    if model.labels.has_regions:
        for index, score in enumerate(scores):
            deciding.masked_fill_(score > threshold, index + 1)
        return deciding
    best = scores[0]
    for index in range(1, len(scores)):
        deciding.masked_fill_(scores[index] > best, index)  # the first among equals, as nnU-Net's argmax
        best = torch.maximum(best, scores[index])
    return deciding


def _written(model: Model, device: torch.device) -> Tensor:
    """The label that each deciding output writes."""
    if model.labels.has_regions:
        return torch.tensor([0, *map(int, model.labels.regions_class_order)], dtype=torch.uint8, device=device)
    return torch.arange(model.heads, dtype=torch.uint8, device=device)


def _taps(answer: Answer) -> list[Taps] | None:
    """Between which of the grid's samples the scan's voxels lie; None where the plans interpolate by higher splines."""
    return taps_along(scheme(answer.model, answer.grid, "probabilities"), answer.grid.shape, answer.grid.extent)


def _resampling(model: Model, grid: ModelGrid, box: Box) -> BoxResampling:
    """How a box of the scan is made from a model's grid."""
    return box_resampling(grid.shape, grid.extent, scheme(model, grid, "probabilities"), _inside(grid, box))


def _inside(grid: ModelGrid, box: Box) -> Box:
    """A box of the scan, in the model's axis order, counted from what nnU-Net keeps of the scan."""
    z, y, x = ((start - at, stop - at) for (start, stop), (at, _) in zip(grid.turn(box), grid.cropped, strict=True))
    return z, y, x
