"""A trained nnU-Net model folder, loaded."""

import functools
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager, determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnunet_kits.environment import TRAINER_VARIABLE, with_shim
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.backends import Backend, check_backend
from nnunet_kits.inference.converted import ConvertedFolds
from nnunet_kits.inference.network import build_network, load_weights
from nnunet_kits.inference.tiling import AXES, Tiling, Windows
from nnunet_kits.intensity import planned_intensity
from nnunet_kits.model_folder import FINAL, fold_folders
from nnunet_kits.nnunet_files import read_dataset_json, read_plans
from nnunet_kits.training.checkpoint_data import read_checkpoint


@dataclass
class Model:
    """What nnU-Net's training left in one model folder.

    Attributes:
        folder: the model folder, ``<trainer>__<plans>__<configuration>``.
        plans: of the model.
        configuration: of the model.
        labels: how its outputs become label maps.
        dataset_json: of the dataset it was trained on.
        network: in evaluation mode on ``device``.
        weights: state dictionaries, one a fold.
        mirror_axes: axes that training mirrored.
        device: where the network is.
        orientation: to which axes scans were turned for its training, such as ``RAS``; None where they lay as their
            files do, or as its reader turns them.
        fold_names: of each fold, as its folder is named.
        backend: what runs the network.
    """

    folder: Path
    plans: PlansManager
    configuration: ConfigurationManager
    labels: LabelManager
    dataset_json: dict[str, Any]
    network: nn.Module
    weights: list[dict[str, Tensor]]
    mirror_axes: tuple[int, ...]
    device: torch.device
    orientation: str | None = None
    fold_names: tuple[str, ...] = ()
    backend: Backend = "torch"

    @property
    def reader(self) -> str:
        """Name of nnU-Net's reader of its scans."""
        return str(self.plans.plans["image_reader_writer"])

    @property
    def heads(self) -> int:
        """Output channels: classes with the background, or regions."""
        return int(self.labels.num_segmentation_heads)

    @property
    def patch_size(self) -> tuple[int, int, int]:
        """Voxels of a window along z, y, x; (1, y, x) for a two-dimensional network."""
        z, y, x = [1] * (3 - len(self.configuration.patch_size)) + [int(n) for n in self.configuration.patch_size]
        return z, y, x

    @property
    def is_cascaded(self) -> bool:
        """Whether the network reads a coarse label map besides the image."""
        return self.configuration.previous_stage_name is not None

    @property
    def is_flat(self) -> bool:
        """Whether the network is two-dimensional."""
        return len(self.configuration.patch_size) == 2

    def tiling(self, windows: Windows) -> Tiling:
        """Windows for this model.

        Raises:
            InferenceError: z of a two-dimensional network, or a lowest intensity where the plans cut nothing.
        """
        axes = [axis + self.is_flat for axis in self.mirror_axes]
        if windows.mirror_axes is not None:
            axes = sorted(map(AXES.index, windows.mirror_axes))
            if self.is_flat and 0 in axes:
                raise InferenceError(
                    f"{self.folder.name}: mirror axis z: a two-dimensional network has none. Mirror x, y, or both."
                )
        padding = 0.0
        if windows.padding == "lowest":
            found = planned_intensity(self.plans.plans, self.configuration.configuration)
            if found is None or math.isinf(found.lowest):
                raise InferenceError(
                    f"{self.folder.name}: padding lowest: its plans cut intensities nowhere, so there is no lowest. "
                    "Pad with zero."
                )
            padding = found.of(found.lowest)
        placed = (windows.placement, windows.weighting, padding)
        return Tiling(self.patch_size, windows.step, tuple(axes), *placed)

    def untrained_axes(self, windows: Windows) -> list[str]:
        """The axes over which windows are to be mirrored, but training did not mirror."""
        trained = {AXES[axis + self.is_flat] for axis in self.mirror_axes}
        return [axis for axis in windows.mirror_axes or () if axis not in trained]

    def probabilities(self, logits: Tensor, axis: int = 0) -> Tensor:
        """Softmax over the classes along an axis, or a sigmoid for each region."""
        return torch.sigmoid(logits) if self.labels.has_regions else torch.softmax(logits, axis)

    def folds(self) -> Sequence[nn.Module]:
        """The network with each fold's weights in turn: use one before you ask for the next.

        Raises:
            InferenceError: the backend cannot run it.
        """
        return _Folds(self.network, self.weights) if self.backend == "torch" else self._converted

    @functools.cached_property
    def _converted(self) -> ConvertedFolds:
        channels = determine_num_input_channels(self.plans, self.configuration, self.dataset_json)
        return ConvertedFolds(self.network, self.weights, (1, channels, *self.configuration.patch_size))


class _Folds(Sequence[nn.Module]):
    """One network that holds the weights of the fold last asked for."""

    def __init__(self, network: nn.Module, weights: list[dict[str, Tensor]]) -> None:
        self.network, self.weights = network, weights

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, index: Any) -> Any:
        if len(self.weights) > 1:
            uncompiled = getattr(self.network, "_orig_mod", self.network)
            uncompiled.load_state_dict(self.weights[index])
        elif index != 0:
            raise IndexError(index)
        return self.network


def load_model(
    folder: Path,
    device: torch.device,
    folds: Sequence[str] | None = None,
    checkpoint: str = FINAL,
    trust: bool = False,
    orientation: str | None = None,
    backend: Backend = "torch",
) -> Model:
    """Load a model folder that ``nnUNetv2_train`` wrote, of any trainer that nnU-Net finds.

    Its checkpoints are read as data, and its plans may name nothing but networks and layers.

    Args:
        folder: ``nnUNet_results/DatasetNNN_Name/<trainer>__<plans>__<configuration>``.
        device: where to run it.
        folds: ``("0", "1")`` or ``("all",)``; None for every fold that has the checkpoint.
        checkpoint: file in the folds' folders.
        trust: run the code that its files ask for.
        orientation: to which axes scans were turned for its training, where that is known.
        backend: what runs the network: ``torch``, or ``openvino`` on the CPU.

    Raises:
        InferenceError: something is missing from the folder, or does not fit; or the backend cannot run the network.
        CheckpointError: a checkpoint that is damaged, or holds more than data.
    """
    check_backend(backend, device.type)
    for name in ("plans.json", "dataset.json"):
        if not (folder / name).is_file():
            raise InferenceError(
                f"{folder}: holds no {name}, so it is no trained model. Name the folder "
                "<trainer>__<plans>__<configuration> below nnUNet_results/<dataset>."
            )
    found = [fold for fold, path in fold_folders(folder).items() if (path / checkpoint).is_file()]
    if folds is None:
        folds = [fold for fold in found if fold != "all"] or found
    missing = [fold for fold in folds if fold not in found]
    if missing or not folds:
        raise InferenceError(
            f"{folder}: no {checkpoint} in fold {', '.join(missing) or '0 to 4'}; folds with one: "
            f"{', '.join(found) or 'none'}. Choose with --folds or --checkpoint, or finish the training."
        )
    os.environ[TRAINER_VARIABLE] = with_shim(os.environ.get(TRAINER_VARIABLE))  # nnU-Net then finds our trainers
    plans = read_plans(folder / "plans.json", InferenceError, complete=True)
    dataset_json = read_dataset_json(folder / "dataset.json", InferenceError, needed=("file_ending",))
    files = [folder / f"fold_{fold}" / checkpoint for fold in folds]
    read = [read_checkpoint(file, trust) for file in files]
    manager = PlansManager(plans)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected old nnU-Net plans format")  # it is served
        configuration = manager.get_configuration(read[0]["init_args"]["configuration"])
    network = build_network(read[0]["trainer_name"], manager, configuration, dataset_json, trust)
    weights = [found["network_weights"] for found in read]
    for file, state in reversed(list(zip(files, weights, strict=True))):
        load_weights(network, state, str(file))
    network = network.to(device).eval()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    asked = os.environ.get("nnUNet_compile", "").lower() in ("true", "1", "t")
    if asked and backend == "torch":  # as nnUNetv2_predict has it
        network = cast(nn.Module, torch.compile(network))
    axes = read[0].get("inference_allowed_mirroring_axes")
    model = Model(
        folder=folder,
        plans=manager,
        configuration=configuration,
        labels=manager.get_label_manager(dataset_json),
        dataset_json=dataset_json,
        network=network,
        weights=weights,
        mirror_axes=tuple(axes) if axes is not None else (),
        device=device,
        orientation=orientation,
        fold_names=tuple(folds),
        backend=backend,
    )
    model.folds()  # is converted where it must be
    return model
