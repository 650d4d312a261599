"""The one trainer class behind every name: nnU-Net's trainer with our network, loss, optimisation and safeguards."""

import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_kits.architectures.unused import freeze_unused
from nnunet_kits.augmentation import set_pipeline
from nnunet_kits.augmentation.pipeline import accelerate, stock_is_asked_for
from nnunet_kits.augmentation.sets import DEFAULT_SET, load_set
from nnunet_kits.errors import TrainingError
from nnunet_kits.losses import DEFAULT_LOSS, LOSSES, LossTask
from nnunet_kits.losses.build import build_loss
from nnunet_kits.machine import freed_memory_kept
from nnunet_kits.model_folder import BEST
from nnunet_kits.training import augmentations, compatibility, frequencies, loaders, mixup, optimisation, tracking
from nnunet_kits.training.clipping import ClippingScaler
from nnunet_kits.training.feeding import Feed, is_said_after
from nnunet_kits.training.names import PLANNED
from nnunet_kits.training.networks import network_of, settings_of
from nnunet_kits.training.plan_classes import LAYERS, check_names, names_in
from nnunet_kits.training.safeguards import SafeTrainer
from nnunet_kits.training.sampling import DEFAULT_SAMPLING, SAMPLINGS
from nnunet_kits.training.schedules import is_lowest, stalls
from nnunet_kits.training.settings import LOWEST_LOSS, TrainingSettings
from nnunet_kits.training.weights import class_weights, stated_weights


class _TrainingEnds(Exception):
    """Leaves nnU-Net's loop over the epochs before its last."""


class KitsTrainer(SafeTrainer):
    """nnU-Net's trainer, composed by name. Subclasses set ``parts`` and nothing else.

    Beyond nnU-Net and the safeguards: parts that do not go together are refused at once; a configuration of the plans
    may carry settings under ``kits_training``.
    """

    num_iterations_per_epoch: int
    num_val_iterations_per_epoch: int
    initial_lr: float
    oversample_foreground_percent: float

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own signature)
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.settings = self._settings_of(self.configuration_manager, self.configuration_name)
        named = self.settings.augmentation
        self.augmentation = None if named == DEFAULT_SET else load_set(named)
        self.num_epochs = self.parts.epochs
        self._feed, self._epochs_run = Feed(), 0
        self._take_settings()
        self._check_parts()
        if self.parts.previous_trainer is not None:
            self._follow(self.parts.previous_trainer)
        self._find_shorter()
        self.logger.update_config({"nnunet_kits": tracking.composition(self.parts, self.settings)})

    @classmethod
    def _settings_of(cls, manager: ConfigurationManager, name: str) -> TrainingSettings:
        """Those of the plans, and of the published system where the plans have none."""
        return settings_of(cls.parts, manager, name)

    def _take_settings(self) -> None:
        """Settings first, then the parts of the name, then nnU-Net's own."""
        given, sampling = self.settings, SAMPLINGS[self.parts.sampling]
        self.num_iterations_per_epoch = given.num_iterations_per_epoch or self.num_iterations_per_epoch
        self.num_val_iterations_per_epoch = given.num_val_iterations_per_epoch or self.num_val_iterations_per_epoch
        self.save_every = given.save_every or self.save_every
        shares = (given.oversample_foreground_percent, sampling.foreground_share, self.oversample_foreground_percent)
        self.oversample_foreground_percent = next(share for share in shares if share is not None)
        self.optimisation = optimisation.configured(
            self.parts.optimisation, given.initial_lr, given.weight_decay, given.plateau
        )
        self.initial_lr, self.weight_decay = self.optimisation.lr, self.optimisation.weight_decay
        patience = given.early_stopping_patience or self.optimisation.early_stopping_patience
        self.early_stopping_patience = patience if isinstance(patience, int) else None
        best = given.best_checkpoint or (LOWEST_LOSS if self.early_stopping_patience else None)
        self._keeps_lowest_loss = best == LOWEST_LOSS
        if not given.mixed_precision:
            self.grad_scaler = None
        if given.gradient_clipping is not None:
            limit = None if isinstance(given.gradient_clipping, str) else given.gradient_clipping
            self.grad_scaler = ClippingScaler(self.device.type, limit, scales=self.grad_scaler is not None)

    def _check_parts(self) -> None:
        """Refuse what cannot be trained, before anything is loaded; see the functions for what they raise."""
        trainer, parts, manager = type(self).__name__, self.parts, self.configuration_manager
        self._check_classes(self.plans_manager, manager)
        settings = self.settings
        network = compatibility.network_class(parts.network, manager.network_arch_class_name)
        compatibility.check_dimensions(trainer, parts, network, self.configuration_name, manager.patch_size)
        compatibility.check_patch(trainer, parts, network, self.configuration_name, manager.patch_size)
        compatibility.check_batch(trainer, parts, self.configuration_name, manager.batch_size)
        where = f"plans, configuration {self.configuration_name}"
        stated = stated_weights(f"{where}: kits_training.class_weights", settings.class_weights, self._outputs())
        self._stated_weights = stated
        compatibility.check_loss_parameters(trainer, self.configuration_name, settings.loss_parameters or {})
        self.enable_deep_supervision = compatibility.supports_deep_supervision(network) and settings.deep_supervision
        if hasattr(network, "load_imagenet_encoder"):
            compatibility.check_imagenet_weights(trainer, self.configuration_name, settings.imagenet_weights)
        self._shares = {}
        tumor_alone = SAMPLINGS[parts.sampling].aims_at_tumor
        if parts.sampling == "TumorFocus" or tumor_alone:
            from nnunet_kits.training.focus import label_shares

            shares = {"tumor": 1.0} if tumor_alone else settings.foreground_shares
            self._shares = label_shares(shares, self.dataset_json["labels"], where)

    @classmethod
    def _check_classes(cls, plans: PlansManager, configuration: ConfigurationManager) -> None:
        """Refuse plans whose names would have more than networks and layers called."""
        whose = f"{cls.__name__}: plans {plans.plans_name}"
        options = configuration.network_arch_init_kwargs
        named = names_in(configuration, networks=None)
        if cls.parts.network != PLANNED:  # of ours only the convolution is the plans'
            named = [("conv_op", options["conv_op"], LAYERS)] if "conv_op" in options else []
        check_names(named, TrainingError, whose, "Plan anew: nnunet_kits plan.")

    def _outputs(self) -> list[str]:
        """Names of the network's outputs: classes with background, or regions."""
        names = [name for name in self.dataset_json["labels"] if name != "ignore"]
        return names[1:] if self.label_manager.has_regions else names

    # network, loss, optimisation

    @classmethod
    def build_network_architecture(  # type: ignore[override]  # nnU-Net calls it on the class, static or not
        cls,
        plans_manager: PlansManager,
        configuration_manager: ConfigurationManager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """This trainer's kind of network in the plans' topology.

        Raises:
            TrainingError: the plans state no topology, or too few stages for deep supervision.
        """
        channels = (num_input_channels, num_output_channels)
        return network_of(cls.parts, plans_manager, configuration_manager, *channels, enable_deep_supervision)

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch the outputs at lower resolutions on or off, where the training has them."""
        super().set_deep_supervision_enabled(enabled and self.enable_deep_supervision)

    def initialize(self) -> None:
        """Build network, optimiser and loss as nnU-Net does; a new training may begin from an ImageNet encoder.

        Raises:
            TrainingError: the training is to begin from weights that do not fit.
        """
        super().initialize()
        network = self.network.module if self.is_ddp else self.network
        network = getattr(network, "_orig_mod", network)  # of torch.compile
        weights, given = self.settings.imagenet_weights, self._begins_from
        if given is not None:
            name = f"{type(self).__name__} with {self.configuration_name} of {self.plans_manager.plans_name}"
            given.check_fit(name, network.state_dict(), self.num_input_channels)
            self.print_to_log_file(f"Begins from {given.file} ({given.origin}); the outputs' weights begin anew.")
        elif hasattr(network, "load_imagenet_encoder") and weights != "none" and not self._restores:
            network.load_imagenet_encoder(None if weights == "hub" else weights)

    def _build_loss(self) -> nn.Module:
        loss = super()._build_loss() if self.parts.loss == DEFAULT_LOSS else self._build_loss_of_ours()
        return mixup.MixupLoss(loss) if self.parts.mixup else loss

    def _build_loss_of_ours(self) -> nn.Module:
        task = LossTask(
            has_regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            batch_dice=self.configuration_manager.batch_dice,
            ddp=self.is_ddp,
            class_weights=self._class_weights() if LOSSES[self.parts.loss].weighted else None,
            patch_size=tuple(self.configuration_manager.patch_size),
        )
        parameters = (self.settings.loss_parameters or {}).get(self.parts.loss)
        return self._deeply_supervised(build_loss(self.parts.loss, task, parameters))

    def _class_weights(self) -> list[float]:
        """One weight per output of the network: stated, or from the labels of the training cases."""
        if self._stated_weights is not None:
            return self._stated_weights
        dataset, _ = self.get_tr_and_val_datasets()
        kept = Path(self.preprocessed_dataset_folder + frequencies.ENDING)
        labels = self.label_manager.all_labels
        counts = dict(zip(labels, frequencies.label_counts(dataset, dataset.identifiers, labels, kept), strict=True))
        regions = self.label_manager.foreground_regions if self.label_manager.has_regions else None
        weights = class_weights(counts, regions)
        told = ", ".join(f"{name} {weight:.3g}" for name, weight in zip(self._outputs(), weights, strict=True))
        self.print_to_log_file(f"Class weights from the voxels of {len(dataset.identifiers)} training cases: {told}")
        return weights

    def _deeply_supervised(self, loss: nn.Module) -> nn.Module:
        """The loss over all output resolutions: weights 1, 1/2, 1/4, ..., 0 for the lowest, as nnU-Net has them."""
        if not self.enable_deep_supervision:
            return loss
        weights = 0.5 ** np.arange(len(self._get_deep_supervision_scales()), dtype=float)
        weights[-1] = 1e-6 if self.is_ddp and not self._do_i_compile() else 0  # DDP wants every parameter used
        return DeepSupervisionWrapper(loss, weights / weights.sum())

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer and a scheduler that nnU-Net steps with the epoch."""
        if self.is_ddp and not self.enable_deep_supervision:
            network: Any = getattr(self.network, "_orig_mod", self.network)  # of torch.compile
            freeze_unused(network, (1, self.num_input_channels, *self.configuration_manager.patch_size))
        if self.parts.optimisation == optimisation.DEFAULT_OPTIMISATION:
            return super().configure_optimizers()
        return optimisation.build(self.optimisation, self.network.parameters(), self.num_epochs, self._logged)

    def _logged(self, key: str) -> list[float]:
        return self.logger.get_value(key, step=None)

    def on_train_epoch_start(self) -> None:
        """Start as nnU-Net does, and watch how long the network waits for batches."""
        super().on_train_epoch_start()
        self._feed = Feed()

    def on_train_epoch_end(self, train_outputs: list[dict[str, Any]]) -> None:
        """End as nnU-Net does; after some epochs the log says whether loading keeps up."""
        super().on_train_epoch_end(train_outputs)
        self._epochs_run += 1
        told = self._feed.told(getattr(self.dataloader_train, "num_processes", 0), loaders.processes_of(self))
        if told and is_said_after(self._epochs_run):
            self.print_to_log_file(told)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One iteration of nnU-Net's, on mixed images where mixup is a part, as often as it is to be."""
        with self._feed.iteration(len(batch["data"])):
            return self._iterate(batch)

    def _iterate(self, batch: dict[str, Any]) -> dict[str, Any]:
        share = self.settings.mixup_probability
        if not self.parts.mixup or (share is not None and np.random.random() >= share):
            return super().train_step(batch)
        images = batch["data"].to(self.device, non_blocking=True)
        self.loss.pairing = mixup.draw(len(images), self.settings.mixup_alpha or mixup.DEFAULT_ALPHA)
        try:
            return super().train_step({**batch, "data": self.loss.pairing.mix(images)})
        finally:
            self.loss.pairing = None

    # length

    def run_training(self) -> None:
        """Train as nnU-Net does; early stopping may end it before the last epoch."""
        with freed_memory_kept() if self.device.type == "cpu" else nullcontext():
            try:
                super().run_training()
            except _TrainingEnds:
                self.on_train_end()

    def on_epoch_start(self) -> None:
        """Begin an epoch, unless the validation loss has not improved for as long as early stopping waits."""
        patience = self.early_stopping_patience
        if patience and stalls(self._logged("val_losses")[: self.current_epoch], patience)[0]:
            self.print_to_log_file(
                f"Early stopping: {patience} epochs without a new lowest validation loss. {BEST} has the lowest."
            )
            raise _TrainingEnds
        super().on_epoch_start()

    def on_epoch_end(self) -> None:
        """End an epoch as nnU-Net does; the best checkpoint may be that of the lowest validation loss."""
        super().on_epoch_end()
        if self._keeps_lowest_loss and is_lowest(self._logged("val_losses")):
            self.current_epoch -= 1  # a checkpoint says which epoch comes next, and counts one up for it
            super().save_checkpoint(os.path.join(self.output_folder, BEST))
            self.current_epoch += 1

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint; the best, where it is that of the lowest validation loss, only from ``on_epoch_end``."""
        if not (self._keeps_lowest_loss and Path(filename).name == BEST):
            super().save_checkpoint(filename)

    # data

    def _set_batch_size_and_oversample(self) -> None:
        """Share the batch out over the processes as nnU-Net does; images of one patch stay together."""
        share, times = self.oversample_foreground_percent, SAMPLINGS[self.parts.sampling].images_per_case
        super()._set_batch_size_and_oversample()
        if self.is_ddp and times > 1:
            patches = self.configuration_manager.batch_size // times
            world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
            compatibility.check_processes(type(self).__name__, patches, world)
            here, self.oversample_foreground_percent = loaders.share_of_process(patches, share, world, rank)
            self.batch_size = here * times
        compatibility.check_mixup(type(self).__name__, self.parts, self.batch_size)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:
        """Augmentation as nnU-Net configures it, or a set; mirrored along the axes that the plans ask for."""
        rotation, dummy_2d, patch_size, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        given, chosen = self.settings, self.augmentation
        if chosen is not None:
            size = self.configuration_manager.patch_size
            dummy_2d, patch_size = False, np.array(set_pipeline.size_with_margin(chosen, size))
            axes = self.inference_allowed_mirroring_axes = chosen.mirror_axes(len(size)) or None
        if given.mirror_axes is not None:
            axes = self.inference_allowed_mirroring_axes = tuple(given.mirror_axes) or None
        if given.prediction_mirror_axes is not None:
            self.inference_allowed_mirroring_axes = tuple(given.prediction_mirror_axes) or None
        return rotation, dummy_2d, patch_size, axes

    @staticmethod
    def get_training_transforms(*given: Any, **options: Any) -> BasicTransform:
        """nnU-Net's training pipeline, with ours in place of what is slow."""
        return accelerate(nnUNetTrainer.get_training_transforms(*given, **options))

    @staticmethod
    def get_validation_transforms(*given: Any, **options: Any) -> BasicTransform:
        """nnU-Net's validation pipeline, with ours in place of what is slow."""
        return accelerate(nnUNetTrainer.get_validation_transforms(*given, **options))

    def get_dataloaders(self) -> tuple[Any, Any]:
        """The sampling's loaders, which read no more than they use; or nnU-Net's, where these are asked for."""
        if self.augmentation is not None:
            made_by = partial(augmentations.training_transforms, self, self.augmentation)
            self.get_training_transforms = made_by  # type: ignore[method-assign]
        if not self.settings.fast_loading:
            if self.augmentation is None:
                self.get_training_transforms = nnUNetTrainer.get_training_transforms  # type: ignore[method-assign]
            self.get_validation_transforms = nnUNetTrainer.get_validation_transforms  # type: ignore[method-assign]
        if self.parts.sampling == DEFAULT_SAMPLING and (stock_is_asked_for() or not self.settings.fast_loading):
            self.print_to_log_file("Patches are read and augmented by nnU-Net's loader and transforms.")
            return super().get_dataloaders()
        return loaders.dataloaders(self, SAMPLINGS[self.parts.sampling], self._shares)
