"""How much memory a prediction needs, reckoned before it starts."""

from collections.abc import Sequence

import numpy as np

from nnunet_kits.inference.model import Model
from nnunet_kits.resampling.grid import grid_spacing

BASE_BYTES = 1_050_000_000
"""An interpreter with torch and nnU-Net."""

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
    voxels = float(np.prod(shape, dtype=float))
    scan = voxels * ((2 if stored_bytes <= 2 else 2 + 4) + 1)  # int16, then float32 where that is not exact; labels
    weights = sum(_weights_bytes(model) for model, _ in stages)
    return int(BASE_BYTES + scan + weights + max(_stage_bytes(*stage, shape, spacing_mm) for stage in stages))


def _weights_bytes(model: Model) -> int:
    return sum(p.numel() * p.element_size() for p in model.network.parameters()) * (1 + len(model.weights))


def _stage_bytes(model: Model, share: float, shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """The normalised part of the scan, its grid, the logits, the sums of a layer of windows, one batch of windows."""
    a, b, c = (int(axis) for axis in model.plans.transpose_forward)
    before = (float(spacing_mm[a]), float(spacing_mm[b]), float(spacing_mm[c]))
    after = grid_spacing(model.configuration.configuration, before)
    scales = [old / new for old, new in zip(before, after, strict=True)]
    whole = [shape[axis] * scale for axis, scale in zip((a, b, c), scales, strict=True)]
    overhang = [OVERHANG * patch for patch in model.patch_size]
    grid = [min(size, size * share ** (1 / 3) + by) for size, by in zip(whole, overhang, strict=True)]
    extent = [size / scale for size, scale in zip(grid, scales, strict=True)]
    channels = 1 + (len(model.labels.foreground_labels) if model.is_cascaded else 0)
    features = int(model.configuration.network_arch_init_kwargs.get("features_per_stage", [32])[0])
    batch = max(1 << 20, int(np.prod(model.patch_size)))
    folds = 2 if len(model.weights) > 1 else 1
    layer = (model.heads + 1) * model.patch_size[0] * grid[1] * grid[2]
    single = float(np.prod(extent)) + float(np.prod(grid)) * channels + layer + batch * features * ACTIVATIONS
    return float(4 * single + 2 * float(np.prod(grid)) * model.heads * folds)
