"""Models without training: a network that names a voxel's label by its intensity, and folders of random weights."""

import json
from pathlib import Path

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from small_plans import CLASSES, cascade_plans, dataset_json

from nnunet_kits.inference.model import Model
from nnunet_kits.training.trainers import trainer_class

BANDS = {"0": {"mean": 0.0, "std": 100.0, "percentile_00_5": -100.0, "percentile_99_5": 400.0}}
"""CTNormalization that turns 100 HU into 1, 200 into 2: the labels' own numbers."""


class ByIntensity(torch.nn.Module):
    """Logit of label k: minus the squared distance of the voxel's intensity to k. It looks at nothing but the voxel."""

    def __init__(self, heads=4, follow_coarse=False):
        super().__init__()
        self.heads, self.follow_coarse = heads, follow_coarse

    def forward(self, x):
        logits = torch.cat([-((x[:, :1] - k) ** 2) for k in range(self.heads)], 1)
        if self.follow_coarse:
            background = 1 - x[:, 1:].sum(1, keepdim=True)
            logits = torch.cat([background, x[:, 1:]], 1) * 10
        return logits


def plans_with(spacing=(3.0, 2.0, 2.0), patch=(16, 24, 24), transpose=(0, 1, 2), **changes):
    made = cascade_plans()
    for configuration in made["configurations"].values():
        if "spacing" in configuration:
            configuration.update(spacing=list(spacing), patch_size=list(patch), **changes)
    made["configurations"]["3d_lowres"]["spacing"] = [1.5 * edge for edge in spacing]
    made.update(
        foreground_intensity_properties_per_channel=BANDS,
        transpose_forward=list(transpose),
        transpose_backward=[list(transpose).index(axis) for axis in range(3)],
    )
    return made


def model(network, plans, configuration="3d_fullres", labels=CLASSES, mirror_axes=()):
    manager = PlansManager(plans)
    described = dataset_json(labels)
    return Model(
        folder=Path(f"ResUNetTrainer__SmallPlans__{configuration}"),
        plans=manager,
        configuration=manager.get_configuration(configuration),
        labels=manager.get_label_manager(described),
        dataset_json=described,
        network=network,
        weights=[network.state_dict()],
        mirror_axes=mirror_axes,
        device=torch.device("cpu"),
    )


def stock_predictor(ours, capsys=None):
    """nnU-Net's own predictor with the same network."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.manual_initialization(
        ours.network, ours.plans, ours.configuration, ours.weights, ours.dataset_json, "nnUNetTrainer", ours.mirror_axes
    )
    predictor.use_mirroring = bool(ours.mirror_axes)
    return predictor


def write_model_folder(results, plans, configuration, labels=CLASSES, folds=(0,), trainer="ResUNetTrainer", seed=0):
    """A model folder as training leaves it, of random weights."""
    folder = Path(results) / plans["dataset_name"] / f"{trainer}__{plans['plans_name']}__{configuration}"
    manager, described = PlansManager(plans), dataset_json(labels)
    heads = manager.get_label_manager(described).num_segmentation_heads
    found = manager.get_configuration(configuration)
    channels = (
        1 if found.previous_stage_name is None else 1 + len(manager.get_label_manager(described).foreground_labels)
    )
    for fold in folds:
        torch.manual_seed(seed + fold)
        network = trainer_class(trainer).build_network_architecture(manager, found, channels, heads, False)
        for head in network.decoder.seg_layers:
            torch.nn.init.normal_(head.weight)
        (folder / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
        checkpoint = {
            "network_weights": network.state_dict(),
            "trainer_name": trainer,
            "init_args": {"configuration": configuration},
            "inference_allowed_mirroring_axes": (0, 1, 2),
        }
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder
