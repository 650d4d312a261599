"""The one trainer class behind every name: nnU-Net's trainer with our network, loss, optimisation and safeguards."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_results
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnunet_kits.architectures import NETWORKS
from nnunet_kits.errors import TrainingError
from nnunet_kits.losses import DEFAULT_LOSS, LOSSES, LossTask
from nnunet_kits.training import cascade, checkpoints, optimisation
from nnunet_kits.training.names import TrainerName
from nnunet_kits.training.settings import training_settings

TOPOLOGY = ("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides")
"""What our networks take from any plans file; blocks, norms and activations are their own."""

SAVE_EVERY_EPOCHS = 10


class KitsTrainer(nnUNetTrainer):
    """nnU-Net's trainer, composed by name. Subclasses set ``parts`` and nothing else.

    Beyond nnU-Net: the cascade refuses to start on incomplete low-resolution predictions and says what makes them;
    checkpoints are written atomically every 10 epochs, and ``--c`` falls back from a damaged one; a configuration of
    the plans may carry settings under ``kits_training``.
    """

    parts: TrainerName

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own signature)
    ) -> None:
        self._continues = bool(plans.get("continue_training"))
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.parts.epochs
        self.save_every = SAVE_EVERY_EPOCHS
        self.mirror_axes: list[int] | None = None  # None: nnU-Net's own
        settings = training_settings(self.configuration_manager.configuration, configuration)
        self._given_initial_lr = settings.get("initial_lr")
        for name, value in settings.items():
            setattr(self, name, value)
        if self.parts.previous_trainer is not None:
            self._follow(self.parts.previous_trainer)

    def _follow(self, previous_trainer: str) -> None:
        """Read the low-resolution predictions of another trainer."""
        if not self.is_cascaded:
            raise TrainingError(
                f"{type(self).__name__}: '_after_{previous_trainer}' names the stage before a cascade, but "
                f"configuration {self.configuration_name} has none. Train it with {self._name_without_after()}."
            )
        self.folder_with_segs_from_previous_stage = str(self._previous_stage().predictions)

    def _name_without_after(self) -> str:
        return type(self).__name__.split("_after_")[0]

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
        given = configuration_manager.network_arch_init_kwargs
        missing = [key for key in TOPOLOGY if key not in given]
        if missing:
            raise TrainingError(
                f"{cls.__name__}: plans {plans_manager.plans_name} describe a "
                f"{configuration_manager.network_arch_class_name} without {', '.join(missing)}, from which "
                f"{cls.parts.network} takes its topology. Use nnU-Net's own plans or one of ours."
            )
        if given["n_stages"] < 3:
            raise TrainingError(
                f"{cls.__name__}: plans {plans_manager.plans_name} have {given['n_stages']} stages, but deep "
                "supervision needs at least 3 (nnU-Net gives the lowest of its outputs weight 0, so one alone would "
                "be a NaN loss). Plan a larger patch."
            )
        return get_network_from_plans(
            NETWORKS[cls.parts.network],
            {key: given[key] for key in TOPOLOGY},
            ["conv_op"],
            num_input_channels,
            num_output_channels,
            allow_init=True,
            deep_supervision=enable_deep_supervision,
        )

    def _build_loss(self) -> nn.Module:
        if self.parts.loss == DEFAULT_LOSS:
            return super()._build_loss()
        module, _, builder = LOSSES[self.parts.loss].rpartition(".")
        task = LossTask(
            has_regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            batch_dice=self.configuration_manager.batch_dice,
            ddp=self.is_ddp,
        )
        loss = getattr(__import__(module, fromlist=[builder]), builder)(task)
        return self._deeply_supervised(loss)

    def _deeply_supervised(self, loss: nn.Module) -> nn.Module:
        """The loss over all output resolutions: weights 1, 1/2, 1/4, ..., 0 for the lowest, as nnU-Net has them."""
        if not self.enable_deep_supervision:
            return loss
        weights = 0.5 ** np.arange(len(self._get_deep_supervision_scales()), dtype=float)
        weights[-1] = 1e-6 if self.is_ddp and not self._do_i_compile() else 0  # DDP wants every parameter used
        return DeepSupervisionWrapper(loss, weights / weights.sum())

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer and a scheduler that nnU-Net steps with the epoch."""
        name = self.parts.optimisation
        if name == optimisation.DEFAULT_OPTIMISATION:
            return super().configure_optimizers()
        built = optimisation.build(name, self.network.parameters(), self.num_epochs, self._given_initial_lr)
        self.initial_lr = built[0].param_groups[0]["lr"]
        return built

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:
        """Augmentation as nnU-Net configures it, mirrored along the axes that the plans ask for."""
        rotation, dummy_2d, patch_size, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if self.mirror_axes is not None:
            axes = self.inference_allowed_mirroring_axes = tuple(self.mirror_axes) or None
        return rotation, dummy_2d, patch_size, axes

    # cascade

    def _previous_stage(self) -> cascade.PreviousStage:
        plans = self.plans_manager
        dataset = plans.dataset_name
        trainer = self.parts.previous_trainer or type(self).__name__
        previous = self.configuration_manager.previous_stage_name
        folder = Path(str(nnUNet_results)) / dataset / f"{trainer}__{plans.plans_name}__{previous}"
        configuration = plans.plans["configurations"][self.configuration_name]
        return cascade.PreviousStage(
            dataset_id=int(dataset.removeprefix("Dataset")[:3]),
            plans=plans.plans_name,
            configuration=previous,
            trainer=trainer,
            next_trainer=type(self).__name__,
            model_folder=folder,
            next_configuration=self.configuration_name,
            preprocessed_folder=Path(self.preprocessed_dataset_folder),
            preprocess_configuration=configuration.get("inherits_from", self.configuration_name),
        )

    def _require_previous_stage(self, keys: Iterable[str]) -> None:
        """Refuse a cascade without low-resolution predictions of all these cases.

        Raises:
            TrainingError: which cases lack one, and the commands that make them.
        """
        if not self.is_cascaded or self.local_rank != 0:
            return
        splits_file = Path(str(nnUNet_preprocessed)) / self.plans_manager.dataset_name / "splits_final.json"
        splits = json.loads(splits_file.read_text()) if splits_file.is_file() else []
        stage = self._previous_stage()
        problems = cascade.unusable_predictions(stage, keys)
        if problems:
            raise TrainingError(cascade.explain(stage, problems, splits))

    def on_train_start(self) -> None:
        """Check the cascade's input, then start as nnU-Net does."""
        training, validation = self.do_split()
        self._require_previous_stage({*training, *validation})
        if self.local_rank == 0:
            checkpoints.remove_unfinished(Path(self.output_folder))
        super().on_train_start()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Check the cascade's input, then validate as nnU-Net does."""
        self._require_previous_stage(self.do_split()[1])
        super().perform_actual_validation(save_probabilities)

    # checkpoints

    def save_checkpoint(self, filename: str) -> None:
        """Write a checkpoint under a temporary name, then rename it; the latest but one is kept too."""
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        temporary = f"{filename}{checkpoints.UNFINISHED}"
        try:
            super().save_checkpoint(temporary)
            checkpoints.keep_previous(Path(filename))
            os.replace(temporary, filename)
        finally:
            Path(temporary).unlink(missing_ok=True)

    def load_checkpoint(self, filename_or_checkpoint: dict[str, Any] | str) -> None:
        """Load a checkpoint; when a training goes on (``--c``) and it is damaged, the newest good one instead.

        Raises:
            TrainingError: it is damaged, and the training does not go on or has no other.
        """
        if isinstance(filename_or_checkpoint, str):
            filename_or_checkpoint = str(self._readable(Path(filename_or_checkpoint)))
        super().load_checkpoint(filename_or_checkpoint)

    def _readable(self, path: Path) -> Path:
        if checkpoints.is_readable(path):
            return path
        if not self._continues:
            raise TrainingError(f"{path}: the checkpoint is damaged. Continue the training with --c, or train again.")
        other = checkpoints.newest_readable(path.parent, besides=path)
        if other is None:
            raise TrainingError(
                f"{path}: the checkpoint is damaged and {path.parent} holds no other good one. "
                "Delete it and train again without --c."
            )
        self.print_to_log_file(f"{path.name} is damaged: going on from {other.name}, the newest good checkpoint.")
        return other

    def on_train_end(self) -> None:
        """Finish as nnU-Net does, and drop the latest but one with the latest."""
        super().on_train_end()
        if self.local_rank == 0:
            (Path(self.output_folder) / checkpoints.PREVIOUS).unlink(missing_ok=True)
