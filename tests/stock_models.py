"""Model folders with checkpoints that an unmodified trainer of nnU-Net wrote itself, of tiny networks."""

import contextlib
import io
import json
import warnings
from copy import deepcopy
from pathlib import Path

import torch
from small_plans import architecture, configuration
from small_plans import plans as small_plans

KIDNEYS = {2: "kidney_right", 3: "kidney_left", 23: "kidney_cyst_left", 24: "kidney_cyst_right"}

HUNDRED_AND_SEVENTEEN = {
    "background": 0,
    **{KIDNEYS.get(value, f"organ_{value}"): value for value in range(1, 118)},
}
"""TotalSegmentator's labels, but for the names of organs that are no kidneys."""


def res_enc_plans(dataset):
    """As nnUNetPlannerResEncL writes them, with tiny features, for images of .mha."""
    kwargs = architecture()["arch_kwargs"]
    kwargs = {key: value for key, value in kwargs.items() if key != "n_conv_per_stage"}
    built = {
        **architecture(),
        "network_class_name": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
        "arch_kwargs": {**kwargs, "n_blocks_per_stage": [1, 1, 1, 1], "n_conv_per_stage_decoder": [1, 1, 1]},
    }
    made = small_plans(**{"3d_fullres": configuration(architecture=built, spacing=[1.5, 1.5, 1.5])})
    return _named(made, dataset, "nnUNetResEncUNetLPlans")


def plain_plans(dataset, spacing=(3.0, 3.0, 3.0)):
    """As the default planner of older versions of nnU-Net v2 wrote them: TotalSegmentator's are from then."""
    made = configuration(spacing=list(spacing))
    kwargs = made.pop("architecture")["arch_kwargs"]
    made |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": kwargs["features_per_stage"][0],
        "unet_max_num_features": kwargs["features_per_stage"][-1],
        "n_conv_per_stage_encoder": kwargs["n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [len(kwargs["strides"]) - 1] * 3,
        "pool_op_kernel_sizes": kwargs["strides"],
        "conv_kernel_sizes": kwargs["kernel_sizes"],
    }
    return _named(small_plans(**{"3d_fullres": made}), dataset, "nnUNetPlans")


def _named(made, dataset, name):
    bands = {"0": {"mean": 0.0, "std": 100.0, "percentile_00_5": -100.0, "percentile_99_5": 400.0}}
    named = {"dataset_name": dataset, "plans_name": name, "image_reader_writer": "SimpleITKIO"}
    return {**made, **named, "foreground_intensity_properties_per_channel": bands}


def described(labels, ending):
    return {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 5, "file_ending": ending}


def stock_model(trainer, plans, dataset_json, checkpoint, folds=(0,), seed=0):
    """A model folder below nnUNet_results; its weights are random, and written by the trainer's own save_checkpoint."""
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    for fold in folds:
        torch.manual_seed(seed + fold)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected old nnU-Net plans format")
            found = recursive_find_trainer_class_by_name(trainer)
            made = found(deepcopy(plans), "3d_fullres", fold, dataset_json, device=torch.device("cpu"))
            preprocessed = Path(made.preprocessed_dataset_folder)
            preprocessed.mkdir(parents=True, exist_ok=True)
            (preprocessed / "case.b2nd").touch()
            made.initialize()
        for head in made.network.decoder.seg_layers:
            torch.nn.init.normal_(head.weight)
        made.save_checkpoint(str(Path(made.output_folder) / checkpoint))
    folder = Path(made.output_folder).parent
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset_json))
    return folder
