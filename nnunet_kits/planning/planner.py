"""Plans written by nnU-Net's planner with a preset's spacings, patches and features."""

import functools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    nnUNetPlannerResEncL,
)
from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset, plan_experiment_dataset
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.json_export import recursive_fix_for_json_export
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_kits.atomic import atomic_path, write_text
from nnunet_kits.cases.splits import read_splits
from nnunet_kits.conversion.memory import nnunet_reading_workers, voxels_of
from nnunet_kits.environment import find_dataset, nnunet_folder
from nnunet_kits.errors import PlanError
from nnunet_kits.nnunet_files import read_dataset_json, read_fingerprint, read_plans
from nnunet_kits.planning.presets import KINDS, Preset
from nnunet_kits.resampling.scheme import NO_RESAMPLING

logger = logging.getLogger(__name__)

NO_MORE_POOLINGS_THAN = 999_999
UNLIMITED_GB = 1e6
"""Memory budget with which nnU-Net's planner does not shrink the patch, which a preset then sets itself."""


STORED_HU = (-32768, 32767)
"""What a CT of 16 bits can hold: clipping to it changes nothing."""


def resampling_of(given: Mapping[str, int] | str | None) -> dict[str, Any]:
    """What a preset's ``resampling`` is in plans: nothing, nnU-Net's function that does nothing, or a spline's order.

    The orders hold for all axes alike, however thick the slices are.
    """
    if given is None:
        return {}
    plan: dict[str, Any] = {}
    for kind in KINDS:
        if isinstance(given, str):
            plan[f"resampling_fn_{kind}"], options = NO_RESAMPLING, {}
        else:
            options = {"is_seg": kind == "seg", "order": given[kind], "order_z": 0, "force_separate_z": False}
        plan[f"resampling_fn_{kind}_kwargs"] = options
    return plan


class PresetPlanner(ExperimentPlanner):
    """nnU-Net's planner, told the spacing, patch and features of every configuration by a preset.

    Resampling, normalisation, reader, topology (strides and kernels that fit spacing and patch) and everything else
    are nnU-Net's own rules. Axes stay as the reader gives them, which for our conversions is (z, y, x).
    """

    budget_gb = UNLIMITED_GB
    """GPU memory that the planner sizes for unless told; without limit, the preset says patch and batch."""

    def __init__(
        self,
        dataset_name_or_id: str | int,
        preset: Preset,
        gpu_memory_target_in_gb: float | None = None,
        preprocessor_name: str = "DefaultPreprocessor",
        overwrite_target_spacing: Sequence[float] | None = None,
        suppress_transpose: bool = True,
    ) -> None:
        self.preset = preset
        budget_gb = gpu_memory_target_in_gb or self.budget_gb
        self.sized_by_memory = budget_gb < UNLIMITED_GB
        super().__init__(
            dataset_name_or_id,
            budget_gb,
            preprocessor_name,
            preset.name,
            overwrite_target_spacing,
            suppress_transpose,
        )
        self.UNet_base_num_features = preset.features_first
        self.UNet_max_features_3d = self.UNet_max_features_2d = preset.features_max

    def generate_data_identifier(self, configuration_name: str) -> str:
        """Every configuration has its own arrays; nnU-Net's ResEnc planners would take those of other plans."""
        return f"{self.plans_identifier}_{configuration_name}"

    def plan_experiment(self) -> dict[str, Any]:
        """Assemble the plans, write them and dataset.json to the preprocessed folder, and return them."""
        configurations = {
            name: self._inheriting(name, given) if "inherits_from" in given else self._configuration(name, given)
            for name, given in self.preset.configurations.items()
        }
        fingerprint = self.dataset_fingerprint
        plans = {
            "dataset_name": self.dataset_name,
            "plans_name": self.plans_identifier,
            "original_median_spacing_after_transp": np.median(fingerprint["spacings"], 0).tolist(),
            "original_median_shape_after_transp": np.median(fingerprint["shapes_after_crop"], 0).round().tolist(),
            "image_reader_writer": self.determine_reader_writer().__name__,
            "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2],
            "configurations": configurations,
            "experiment_planner_used": type(self).__name__,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": self._intensities(),
        }
        self.plans = plans
        self.save_plans(plans)
        return plans

    def _intensities(self) -> dict[str, Any]:
        """What ``CTNormalization`` clips to, subtracts and divides by: the fingerprint's, or the preset's window."""
        found: dict[str, Any] = self.dataset_fingerprint["foreground_intensity_properties_per_channel"]
        given = dict(self.preset.intensity)
        if self.preset.hu_window is not None:
            low, high = self.preset.hu_window
            given = {"clip_hu": (low, high), "mean": (low + high) / 2, "std": (high - low) / 2}
        if "clip_hu" in given:
            given["percentile_00_5"], given["percentile_99_5"] = given.pop("clip_hu") or STORED_HU
        own = {key: float(value) for key, value in given.items()}
        return {channel: {**properties, **own} for channel, properties in found.items()}

    def _inheriting(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration that is another in all but what it says; features of its own need a whole architecture."""
        plan = {key: given[key] for key in ("inherits_from", "previous_stage") if key in given}
        if "features" in given:
            plan["architecture"] = self._configuration(name, self._whole(given))["architecture"]
        return plan

    def _whole(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """A configuration with what it inherits."""
        if "inherits_from" not in given:
            return given
        return {**self._whole(self.preset.configurations[given["inherits_from"]]), **given}

    def _configuration(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        own = "spacing_zyx_mm" not in given  # every case stays on its own voxels
        axes = slice(-len(given["patch_size"] if own else given["spacing_zyx_mm"]), None)  # in 2D: y and x
        median = np.median(self.dataset_fingerprint["spacings"], 0)[axes]
        spacing = median if own else np.array(given["spacing_zyx_mm"], dtype=float)
        shapes = [
            np.array(shape[axes]) if own else compute_new_shape(shape[axes], old[axes], spacing)
            for shape, old in zip(
                self.dataset_fingerprint["shapes_after_crop"], self.dataset_fingerprint["spacings"], strict=True
            )
        ]
        median_shape = np.median(shapes, 0)
        voxels = float(np.prod(median_shape) * self.dataset_json["numTraining"])
        plan = self.get_plans_for_configuration(spacing, median_shape, self.generate_data_identifier(name), voxels, {})
        if not self.sized_by_memory:
            plan["patch_size"], topology = self._topology(spacing, given)
            plan["batch_size"] = given["batch_size"]
            plan["architecture"]["arch_kwargs"].update(topology)
        plan["batch_dice"] = given["batch_dice"]
        plan.update(resampling_of(given.get("resampling")))
        plan.update({key: given[key] for key in ("next_stage", "kits_training") if key in given})
        return plan

    def _topology(self, spacing: np.ndarray, given: Mapping[str, Any]) -> tuple[list[int], dict[str, Any]]:
        """Strides and kernels of a fixed patch: the preset's, or by nnU-Net's rules.

        Raises:
            PlanError: the patch is no multiple of the strides, or there are not as many features as stages.
        """
        patch_size = given["patch_size"]
        if "strides" in given:
            strides, kernels = given["strides"], given["kernel_sizes"]
        else:
            _, strides, kernels, _, _ = get_pool_and_conv_props(
                spacing, patch_size, self.UNet_featuremap_min_edge_length, NO_MORE_POOLINGS_THAN
            )
        stages = min(len(strides), given.get("max_stages") or len(strides))
        factors = np.prod(strides[:stages], axis=0)
        if np.any(np.array(patch_size) % factors):
            fitting = (np.ceil(np.array(patch_size) / factors) * factors).astype(int).tolist()
            raise PlanError(
                f"preset {self.preset.name}: patch {list(patch_size)} is no multiple of its strides "
                f"{factors.tolist()}; the nearest larger one is {fitting}."
            )
        features = given.get("features") or [
            min(self.UNet_max_features_3d, self.UNet_base_num_features * 2**i) for i in range(stages)
        ]
        if len(features) != stages:
            raise PlanError(
                f"preset {self.preset.name}: features are {len(features)} numbers, but the patch {list(patch_size)} "
                f"has {stages} stages. Give one for each, or strides and kernel_sizes with them."
            )
        return list(patch_size), {
            "n_stages": stages,
            "features_per_stage": list(features),
            "kernel_sizes": kernels[:stages],
            "strides": strides[:stages],
            "n_conv_per_stage": list(self.UNet_blocks_per_stage_encoder[:stages]),
            "n_conv_per_stage_decoder": list(self.UNet_blocks_per_stage_decoder[: stages - 1]),
        }

    def save_plans(self, plans: dict[str, Any]) -> None:
        """Write the plans afresh, nothing kept of an older file, and dataset.json beside them."""
        recursive_fix_for_json_export(plans)
        folder = nnunet_folder("nnUNet_preprocessed") / self.dataset_name
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "dataset.json") as temporary:
            shutil.copyfile(Path(self.raw_dataset_folder) / "dataset.json", temporary)
        write_text(folder / f"{self.plans_identifier}.json", json.dumps(plans, indent=4))


class ResEncLPresetPlanner(PresetPlanner, nnUNetPlannerResEncL):
    """The same on nnU-Net's planner for residual encoders on 24 GB, which sizes patch and batch."""

    budget_gb = 24.0


PLANNERS: dict[str, type[PresetPlanner]] = {
    "ExperimentPlanner": PresetPlanner,
    "nnUNetPlannerResEncL": ResEncLPresetPlanner,
}
"""Name in a preset -> what plans: nnU-Net's planner of that name, told the preset."""


def plan_dataset(dataset_id: int, preset: Preset, gpu_memory_gb: float | None = None) -> tuple[Path, list[str]]:
    """Write the plans of a preset for a converted dataset.

    Without ``gpu_memory_gb`` patch and batch are the preset's, or its planner's; with it nnU-Net sizes both for that
    budget at the preset's spacings. The fingerprint is extracted first where nnU-Net has not done so yet.

    Returns:
        The plans file, and the configurations whose preprocessed data is from other plans and must be made again.

    Raises:
        PlanError: no such dataset, no dataset.json, or contradicting splits.
    """
    raw = find_dataset(nnunet_folder("nnUNet_raw"), dataset_id)
    if raw is None or not (raw / "dataset.json").is_file():
        raise PlanError(
            f"there is no complete dataset {dataset_id:03d} in {nnunet_folder('nnUNet_raw')}"
            f"{f' ({raw.name} has no dataset.json)' if raw else ''}. Convert one first: nnunet_kits convert."
        )
    folder = nnunet_folder("nnUNet_preprocessed") / raw.name
    folder.mkdir(parents=True, exist_ok=True)
    _check_splits(raw / "splits_final.json", folder / "splits_final.json")
    read_dataset_json(raw / "dataset.json", PlanError, "Convert it again.")
    fingerprint = folder / "dataset_fingerprint.json"
    if not fingerprint.is_file():
        logger.info(f"{raw.name}: no fingerprint yet, so it is extracted first (nnUNetv2_extract_fingerprint).")
        extract_fingerprint_dataset(dataset_id, num_processes=_fingerprint_workers(raw))
    read_fingerprint(fingerprint, PlanError, "Delete it, and it is extracted again.")
    plans_file = folder / f"{preset.name}.json"
    before = read_plans(plans_file, PlanError, "Delete it first.") if plans_file.is_file() else {"configurations": {}}
    planner = functools.partial(PLANNERS[preset.planner], preset=preset)
    with _some_augmentation_processes():
        plan_experiment_dataset(dataset_id, planner, gpu_memory_target_in_gb=gpu_memory_gb)
    return plans_file, _stale(folder, before, read_plans(plans_file, PlanError))


def _fingerprint_workers(raw: Path) -> int:
    """Processes of nnU-Net's that there are CPUs for, and room for the largest case in each."""
    cases = get_filenames_of_train_images_and_targets(str(raw)).values()
    return nnunet_reading_workers([voxels_of(Path(case["images"][0])) for case in cases])


@contextmanager
def _some_augmentation_processes() -> Iterator[None]:
    """nnU-Net's planner takes as many threads as nnUNet_n_proc_DA says, and stops when a user's setting is 0."""
    given = os.environ.get("nnUNet_n_proc_DA")
    if given == "0":
        os.environ["nnUNet_n_proc_DA"] = "1"
    try:
        yield
    finally:
        if given is not None:
            os.environ["nnUNet_n_proc_DA"] = given


def _check_splits(raw: Path, preprocessed: Path) -> None:
    if not (raw.is_file() and preprocessed.is_file()):
        return
    if read_splits(raw, PlanError) != read_splits(preprocessed, PlanError):
        raise PlanError(
            f"{preprocessed} differs from {raw}: the dataset was converted again with other cases or folds. "
            "Keep the one you trained with, or delete both results and the preprocessed file to start afresh."
        )


VALUES = ("spacing", "normalization_schemes", "resampling_fn_data", "resampling_fn_seg")
"""What of a configuration decides over the values of its arrays, with the resampling's arguments and intensities."""


def _stale(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Configurations whose preprocessed arrays exist, but with other values than the new plans say."""
    return [
        name
        for name, configuration in after["configurations"].items()
        if "spacing" in configuration
        and (folder / configuration["data_identifier"]).is_dir()
        and _values(before, name) != _values(after, name)
    ]


def _values(plans: dict[str, Any], name: str) -> list[Any]:
    configuration = plans["configurations"].get(name, {})
    keys = [*VALUES, *(f"{key}_kwargs" for key in VALUES[2:])]
    return [plans.get("foreground_intensity_properties_per_channel"), *(configuration.get(key) for key in keys)]
