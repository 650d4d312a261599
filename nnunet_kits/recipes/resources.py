"""What the steps of a recipe need, reckoned from its release, presets and trainers by rules that a few facts give.

They are limits for a cluster, made to be too large rather than too small, and no forecasts.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from nnunet_kits.conversion.cases import numbers_of
from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.planning.presets import Preset
from nnunet_kits.recipes.recipe import Recipe
from nnunet_kits.recipes.steps import Resources, RunSettings
from nnunet_kits.releases import RELEASES
from nnunet_kits.training.names import DEFAULT_EPOCHS, is_ours, parse_trainer_name
from nnunet_kits.training.published import PUBLISHED

CASE_MM3 = 528 * 512 * 512 * 0.78**3
"""A usual CT of KiTS. Source: George, KiTS21, section 2.3: the median size at 0.78 mm."""

CASE_SPACING_MM = (3.0, 0.78, 0.78)
"""Its voxels as they are scanned: KiTS23's median slices, and George's spacing in plane."""

PATIENCE = 3
"""How many times longer than on an A100 a training may take."""

A100_HOURS, A100_VOXELS = 9, 1000 * 250 * 2 * 128**3
"""nnU-Net's own network on KiTS23: hours, and the voxels that it sees meanwhile.

Source: Isensee et al. 2024, nnU-Net Revisited, arXiv:2404.09556, table 1.
"""

SIZED_PATCH, SIZED_BATCH = (192, 192, 192), 2
"""What nnU-Net's planner gives a preset without a patch; see docs/reference/presets.md."""

ITERATIONS = 250
"""Batches that nnU-Net trains an epoch."""

CHECKPOINTS_GB = 1.0
"""Of one fold: three files, each with weights and the optimiser's two or fewer values a weight."""

WORKERS, WORKER_GB = 8, 4
"""Processes of the steps that work case by case, and what each has; they take fewer where memory is short."""

SMALL = Resources(cpus=2, memory_gb=8, hours=1, disk_gb=2)
"""A step of a smoke run, and of one on phantoms."""


class Needs:
    """What each step of a run needs.

    Args:
        recipe: its release says how many cases there are.
        run: on which device.
    """

    def __init__(self, recipe: Recipe, run: RunSettings) -> None:
        release = RELEASES[recipe.release]
        self.small = run.smoke or recipe.phantoms is not None
        self.gpus = 0 if run.device == "cpu" else 1
        self.num_gpus = run.num_gpus
        self.cases = sum(map(len, release.training)) - len(numbers_of(recipe.conversion.exclude, release))

    def by_case(self, minutes: float, bytes_a_voxel: float = 0, spacing_mm: tuple[float, ...] = ()) -> Resources:
        """A step that works on every case, several at once.

        Args:
            minutes: a case takes one process.
            bytes_a_voxel: that are written.
            spacing_mm: of these voxels; two edges for slices, none for the CT's own.
        """
        if self.small:
            return SMALL
        spacing = (*CASE_SPACING_MM[: 3 - len(spacing_mm)], *spacing_mm)
        voxels = CASE_MM3 / math.prod(spacing) * self.cases
        hours = 1 + minutes * self.cases / 60 / WORKERS
        return Resources(0, WORKERS, WORKERS * WORKER_GB, _up(hours), _up(1 + voxels * bytes_a_voxel / 1e9))

    def plan(self) -> Resources:
        """Fingerprint and plans: each CT is read once."""
        return self.by_case(minutes=1)

    def preprocess(self, preset: Preset, configuration: str) -> Resources:
        """Arrays of float32 and a label map, as if nothing of them were compressed."""
        spacing = preset.configurations[configuration].get("spacing_zyx_mm", ())
        return self.by_case(minutes=3, bytes_a_voxel=5, spacing_mm=tuple(spacing))

    def train(self, preset: Preset, model: ModelFolder) -> Resources:
        """One fold: as long as nnU-Net's own network needs for as many voxels, and some patience."""
        gpus = self.gpus and self.num_gpus
        if self.small:
            return Resources(gpus, SMALL.cpus, SMALL.memory_gb, SMALL.hours, SMALL.disk_gb)
        voxels = training_voxels(preset, model)
        hours = 1 + PATIENCE * A100_HOURS * voxels / A100_VOXELS
        many = max(1, gpus)
        return Resources(gpus, WORKERS * many, WORKERS * WORKER_GB * many, _up(hours), CHECKPOINTS_GB)

    def predict(self, models: int) -> Resources:
        """Every case by some models, one after the other."""
        if self.small:
            return Resources(self.gpus, SMALL.cpus, SMALL.memory_gb, SMALL.hours, SMALL.disk_gb)
        return Resources(self.gpus, 4, 32, _up(1 + 3 * models * self.cases / 60), 1)


def training_voxels(preset: Preset, model: ModelFolder) -> int:
    """Voxels that a network sees while one fold is trained."""
    given = _whole(preset, model.configuration)
    patch, batch = given.get("patch_size", SIZED_PATCH), given.get("batch_size", SIZED_BATCH)
    epochs, settings = epochs_and_settings(model.trainer)
    settings = {**settings, **given.get("kits_training", {})}
    batches = settings.get("num_iterations_per_epoch", ITERATIONS)
    return int(epochs * batches * batch * math.prod(patch))


def epochs_and_settings(trainer: str) -> tuple[int, Mapping[str, Any]]:
    """The length of a training, and the settings that its trainer brings."""
    if is_ours(trainer):
        parts = parse_trainer_name(trainer)
        return parts.epochs, PUBLISHED[parts.published].settings if parts.published else {}
    named = re.search(r"_(\d+)epochs?$", trainer)
    return int(named[1]) if named else DEFAULT_EPOCHS, {}


def _whole(preset: Preset, configuration: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    given = dict(preset.configurations[configuration])
    return {**_whole(preset, given["inherits_from"]), **given} if "inherits_from" in given else given


def _up(number: float) -> float:
    return float(math.ceil(number))
