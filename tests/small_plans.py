"""Plans and dataset.json as nnU-Net's planner writes them, for trainers that are built without any data."""

import json
from pathlib import Path
from typing import Any


def architecture(stages: int = 4, dimensions: int = 3) -> dict[str, Any]:
    first, other = [1] * dimensions, [2] * dimensions
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [4 * 2**i for i in range(stages)],
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [[3] * dimensions] * stages,
            "strides": [first] + [other] * (stages - 1),
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def configuration(**changes: Any) -> dict[str, Any]:
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "data_identifier": "SmallPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 24, 24],
        "median_image_size_in_voxels": [16, 24, 24],
        "spacing": [3.0, 2.0, 2.0],
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "architecture": architecture(),
        "batch_dice": False,
        **changes,
    }


def plans(**configurations: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset_name": "Dataset220_KiTS2023",
        "plans_name": "SmallPlans",
        "original_median_spacing_after_transp": [3.0, 2.0, 2.0],
        "original_median_shape_after_transp": [16, 24, 24],
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {},
        "configurations": configurations or {"3d_fullres": configuration()},
        "continue_training": False,
    }


def cascade_plans() -> dict[str, Any]:
    low = configuration(data_identifier="SmallPlans_3d_lowres", next_stage="3d_cascade_fullres")
    full = configuration()
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    return plans(**{"3d_lowres": low, "3d_fullres": full, "3d_cascade_fullres": cascade})


CLASSES = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
REGIONS = {"background": 0, "kidney_and_mass": [1, 2, 3], "mass": [2, 3], "tumor": 2}


def dataset_json(labels: dict[str, Any] = CLASSES) -> dict[str, Any]:
    content: dict[str, Any] = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    if any(isinstance(value, list) for value in labels.values()):
        content["regions_class_order"] = [1, 3, 2]
    return content


def write_fingerprint(folder: Path, cases: int, spacing: list[float], shape: list[int]) -> tuple[Path, Path]:
    """Raw and preprocessed folder of a converted dataset as far as a planner looks, below nnU-Net's folders."""
    raw, preprocessed = (folder / name / "Dataset220_KiTS2023" for name in ("nnUNet_raw", "nnUNet_preprocessed"))
    for made in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        made.mkdir(parents=True)
    (raw / "imagesTr" / "case_00000_0000.nii.gz").touch()
    (raw / "labelsTr" / "case_00000.nii.gz").touch()
    reader = {"overwrite_image_reader_writer": "NibabelIOWithReorient"}
    (raw / "dataset.json").write_text(json.dumps({**dataset_json(), **reader, "numTraining": 489}))
    intensities = {"mean": 100.0, "std": 75.0, "percentile_00_5": -60.0, "percentile_99_5": 310.0}
    fingerprint = {
        "spacings": [spacing] * cases,
        "shapes_after_crop": [shape] * cases,
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "median_relative_size_after_cropping": 1.0,
    }
    (preprocessed / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    return raw, preprocessed
