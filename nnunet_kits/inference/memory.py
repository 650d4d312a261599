"""How much memory a prediction needs, reckoned before it starts."""

from collections.abc import Sequence

import numpy as np

from nnunet_kits.inference.model import Model
from nnunet_kits.inference.stages import Models
from nnunet_kits.inference.system import System
from nnunet_kits.resampling.grid import grid_spacing

BASE_BYTES = 1_050_000_000
"""An interpreter with torch and nnU-Net."""

CONVERSION_BYTES = 300_000_000
"""OpenVINO, and what exports a network to it. It also keeps a copy of each fold's weights in an order of its own."""

ROI_SHARE = 0.25
"""Part of a scan that the boxes around the kidneys are reckoned to hold; on KiTS they hold a tenth to a fifth."""

OVERHANG = 0.75
"""Part of a window by which the windows over a box are reckoned to reach beyond it, both sides together."""

ACTIVATIONS = 8
"""A network holds about so many copies of its first stage's features of a batch of windows, in inference mode."""


def bytes_needed(
    stages: Sequence[tuple[Model, float]], shape: Sequence[int], spacing_mm: Sequence[float], stored_bytes: int
) -> int:
    """Main memory of one process that predicts one scan on the CPU.

    Args:
        stages: each model with the part of the scan that it sees, 1 for all of it.
        shape: voxels of the scan.
        spacing_mm: of the scan, along the same axes.
        stored_bytes: of a voxel in the file.
    """
    scan = float(np.prod(shape, dtype=float)) * (_voxel_bytes(stored_bytes) + 1)
    weights = sum(_weights_bytes(model) for model, _ in stages)
    return int(BASE_BYTES + scan + weights + max(_stage_bytes(*stage, shape, spacing_mm) for stage in stages))


def bytes_of_members(
    model: Model, members: int, share: float, shape: Sequence[int], spacing_mm: Sequence[float]
) -> int:
    """Main memory that comparing a model's folds or flips needs besides.

    Args:
        model: the model.
        members: how many are compared.
        share: part of the scan that the model sees.
        shape: voxels of the scan.
        spacing_mm: of the scan, along the same axes.
    """
    sums = 8 * model.heads if len(model.weights) == 1 else 0  # flips are summed in single precision
    return int(float(np.prod(_grid(model, share, shape, spacing_mm)[0])) * (members + 4 + sums))


def bytes_of_system(
    system: System, models: Models, shape: Sequence[int], spacing_mm: Sequence[float], stored_bytes: int
) -> int:
    """Main memory of one process that predicts one scan by a system on the CPU.

    Args:
        system: the stages.
        models: of every member.
        shape: voxels of the scan.
        spacing_mm: of the scan, along the same axes.
        stored_bytes: of a voxel in the file.
    """
    voxels, side = float(np.prod(shape, dtype=float)), ROI_SHARE ** (1 / 3)
    scan = voxels * (_voxel_bytes(stored_bytes) + len(system.stages) + 2)  # a label map each, two on the way
    weights = sum(_weights_bytes(model) for found in {id(f): f for f in models.values()}.values() for model in found)
    needs = []
    for stage in system.stages:
        cut = stage.prepare.margin_voxels is not None
        extent = [max(1, round(size * side)) if cut else int(size) for size in shape]
        size = stage.prepare.size_of((extent[0], extent[1], extent[2]))
        spacing = [float(mm) * n / m for mm, n, m in zip(spacing_mm, extent, size, strict=True)]
        prepared = (7 if size != tuple(extent) or stage.prepare.mask else 1) * float(np.prod(size, dtype=float))
        found = [model for member in stage.members for model in models[member]]
        kept = sum(_answer_bytes(model, 1.0, size, spacing) for model in found)
        needs.append(prepared + kept + max(_stage_bytes(model, 1.0, size, spacing) for model in found))
    return int(BASE_BYTES + scan + weights + max(needs))


def _voxel_bytes(stored_bytes: int) -> int:
    """Of a voxel of a scan: int16, then float32 where that is not exact."""
    return 2 if stored_bytes <= 2 else 2 + 4


def _weights_bytes(model: Model) -> int:
    once = sum(p.numel() * p.element_size() for p in model.network.parameters())
    folds = len(model.weights)
    return once * (1 + folds) if model.backend == "torch" else once * (1 + 2 * folds) + CONVERSION_BYTES


def _stage_bytes(model: Model, share: float, shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """The normalised part of the scan, its grid, the logits, the sums of a layer of windows, one batch of windows."""
    grid, extent = _grid(model, share, shape, spacing_mm)
    channels = 1 + (len(model.labels.foreground_labels) if model.is_cascaded else 0)
    features = int(model.configuration.network_arch_init_kwargs.get("features_per_stage", [32])[0])
    batch = max(1 << 20, int(np.prod(model.patch_size)))
    folds = 2 if len(model.weights) > 1 else 1
    layer = (model.heads + 1) * model.patch_size[0] * grid[1] * grid[2]
    single = float(np.prod(extent)) + float(np.prod(grid)) * channels + layer + batch * features * ACTIVATIONS
    return float(4 * single + 2 * float(np.prod(grid)) * model.heads * folds)


def _answer_bytes(model: Model, share: float, shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """What is kept of a model's answer while the next one works, in half precision."""
    return 2 * float(np.prod(_grid(model, share, shape, spacing_mm)[0])) * model.heads


def _grid(
    model: Model, share: float, shape: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Voxels of a model's grid over a part of the scan, windows that overhang included, and of the scan over that."""
    a, b, c = (int(axis) for axis in model.plans.transpose_forward)
    before = (float(spacing_mm[a]), float(spacing_mm[b]), float(spacing_mm[c]))
    after = grid_spacing(model.configuration.configuration, before)
    scales = [old / new for old, new in zip(before, after, strict=True)]
    whole = [shape[axis] * scale for axis, scale in zip((a, b, c), scales, strict=True)]
    overhang = [OVERHANG * patch for patch in model.patch_size]
    grid = [min(size, size * share ** (1 / 3) + by) for size, by in zip(whole, overhang, strict=True)]
    return grid, [size / scale for size, scale in zip(grid, scales, strict=True)]
