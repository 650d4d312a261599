"""What the benchmarks share of nnU-Net: plans, trainers as it finds them, batches of random numbers."""

import json
from pathlib import Path
from typing import Any

DATASET = "Dataset220_KiTS2023"


def described(folder: Path, plans: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plans and dataset.json, with nnU-Net's folders below ``folder``."""
    preprocessed = folder / "nnUNet_preprocessed" / DATASET
    plans_file, dataset_file = preprocessed / f"{plans}.json", preprocessed / "dataset.json"
    return json.loads(plans_file.read_text()), json.loads(dataset_file.read_text())


def make_trainer(
    name: str, plans: dict[str, Any], configuration: str, dataset: dict[str, Any], device: str, fold: int | str = "all"
) -> Any:
    """A trainer as nnU-Net finds it."""
    import torch
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    plans = json.loads(json.dumps(plans)) | {"continue_training": False}
    return recursive_find_trainer_class_by_name(name)(plans, configuration, fold, dataset, torch.device(device))


def random_batch(trainer: Any) -> dict[str, Any]:
    """Images of random numbers with targets at the trainer's resolutions."""
    import torch

    count, patch = trainer.batch_size, [int(edge) for edge in trainer.configuration_manager.patch_size]
    scales = [
        [round(edge * factor) for edge, factor in zip(patch, scale, strict=True)]
        for scale in trainer._get_deep_supervision_scales()
    ]
    targets = [torch.randint(0, 4, (count, 1, *scale)).float() for scale in scales]
    return {"data": torch.randn(count, 1, *patch), "target": targets}


def shrunk(configuration: dict[str, Any], patch: int, features: tuple[int, int], stages: int) -> dict[str, Any]:
    """Patch, batch and architecture of a configuration with fewer stages and features, every axis halved at each.

    Args:
        configuration: of plans.
        patch: its edge in voxels.
        features: of the first stage and at most.
        stages: of the network.
    """
    architecture = dict(configuration["architecture"])
    arguments = dict(architecture["arch_kwargs"])
    for key in ("n_blocks_per_stage", "n_conv_per_stage"):
        if key in arguments:
            arguments[key] = arguments[key][:stages]
    arguments["n_conv_per_stage_decoder"] = arguments["n_conv_per_stage_decoder"][: stages - 1]
    arguments |= {"strides": [[1] * 3] + [[2] * 3] * (stages - 1), "kernel_sizes": [[3] * 3] * stages}
    arguments |= {"n_stages": stages, "features_per_stage": [min(features[1], features[0] << n) for n in range(stages)]}
    architecture["arch_kwargs"] = arguments
    return {"patch_size": [patch] * 3, "batch_size": 2, "architecture": architecture}


def bare_plans(name: str, spacings_mm: dict[str, float]) -> dict[str, Any]:
    """Plans with what preprocessing and export ask of plans, and no network.

    Args:
        name: of the plans.
        spacings_mm: configuration -> its voxels' edge.
    """
    function, images = "resample_data_or_seg_to_shape", {"is_seg": False, "order_z": 0, "force_separate_z": None}
    configurations = {
        configuration: {
            "data_identifier": f"{name}_{configuration}",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [128] * 3,
            "spacing": [edge] * 3,
            "normalization_schemes": ["CTNormalization"],
            "use_mask_for_norm": [False],
            "architecture": {"network_class_name": "none", "arch_kwargs": {}, "_kw_requires_import": []},
            **{f"resampling_fn_{kind}": function for kind in ("data", "seg", "probabilities")},
            "resampling_fn_data_kwargs": images | {"order": 3},
            "resampling_fn_seg_kwargs": images | {"order": 1, "is_seg": True},
            "resampling_fn_probabilities_kwargs": images | {"order": 1},
        }
        for configuration, edge in spacings_mm.items()
    }
    return {
        "plans_name": name,
        "image_reader_writer": "NibabelIOWithReorient",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {
            "0": {"mean": 103.0, "std": 73.3, "percentile_00_5": -59.0, "percentile_99_5": 303.0}
        },
        "configurations": configurations,
    }
