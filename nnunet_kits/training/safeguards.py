"""nnU-Net's trainer with safeguards: a cascade that knows what it stands on, and checkpoints that survive a kill."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from nnunetv2.paths import nnUNet_results
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from nnunet_kits.cases.splits import read_splits
from nnunet_kits.errors import TrainingError
from nnunet_kits.model_folder import BEST, FINAL, LATEST, ModelFolder
from nnunet_kits.training import checkpoints, fine_tuning, longer, tracking
from nnunet_kits.training.checkpoint_data import data_only, refuse_code
from nnunet_kits.training.names import AFTER, TrainerName, split_after
from nnunet_kits.training.previous_stage import PreviousStage, explain, previous_stage, unusable_predictions

SAVE_EVERY_EPOCHS = 10


class SafeTrainer(nnUNetTrainer):
    """nnU-Net's trainer with safeguards.

    The cascade refuses to start on incomplete low-resolution predictions and says what makes them; checkpoints are
    written atomically every 10 epochs, and ``--c`` falls back from a damaged one and goes on from a shorter training;
    weights to begin from are looked at before.
    """

    parts: TrainerName
    configuration_manager: ConfigurationManager

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 (nnU-Net's own signature)
    ) -> None:
        self._continues = bool(plans.get("continue_training"))
        tracking.check_mode(os.environ)
        file = fine_tuning.file_asked_for(sys.argv)
        several = torch.distributed.is_available() and torch.distributed.is_initialized()  # each loads to its own GPU
        self._begins_from = None if file is None else fine_tuning.read_weights(file, only_here=not several)
        super().__init__(plans, configuration, fold, dataset_json, device)
        self._restores = False
        self._shorter: ModelFolder | None = None
        self.save_every = SAVE_EVERY_EPOCHS

    # cascade

    def _follow(self, previous_trainer: str) -> None:
        """Read the low-resolution predictions of another trainer."""
        name, stage = type(self).__name__, self._previous_stage()
        if stage is None:
            raise TrainingError(
                f"{name}: '{AFTER}{previous_trainer}' names the stage before a cascade, but configuration "
                f"{self.configuration_name} has none. Train it with {split_after(name)[0]}."
            )
        self.folder_with_segs_from_previous_stage = str(stage.predictions)

    def _previous_stage(self) -> PreviousStage | None:
        if not self.is_cascaded:
            return None
        preprocessed, model = Path(self.preprocessed_dataset_folder_base), self._model_folder()
        return previous_stage(
            model, self.plans_manager.plans, preprocessed, self.parts.previous_trainer or model.trainer
        )

    def _model_folder(self) -> ModelFolder:
        manager = self.plans_manager
        results = Path(str(nnUNet_results)) / manager.dataset_name
        return ModelFolder(results, type(self).__name__, manager.plans_name, self.configuration_name)

    def _require_previous_stage(self, keys: Iterable[str]) -> None:
        """Refuse a cascade without low-resolution predictions of all these cases.

        Raises:
            TrainingError: which cases lack one, and the commands that make them.
        """
        stage = self._previous_stage()
        if stage is None or self.local_rank != 0:
            return
        splits_file = Path(self.preprocessed_dataset_folder_base) / "splits_final.json"
        splits = read_splits(splits_file, TrainingError) if splits_file.is_file() else []
        problems = unusable_predictions(stage, keys)
        if problems:
            raise TrainingError(explain(stage, problems, splits))

    def on_train_start(self) -> None:
        """Check the cascade's input, then start as nnU-Net does."""
        training, validation = self.do_split()
        self._require_previous_stage({*training, *validation})
        if self.local_rank == 0:
            checkpoints.remove_unfinished(Path(self.output_folder))
        super().on_train_start()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Check the cascade's input, then validate as nnU-Net does.

        Nothing is predicted for a next stage of the plans that is not preprocessed at all: nnU-Net's own trainer ends
        with an error there, although the stage may not be wanted.
        """
        self._require_previous_stage(self.do_split()[1])
        self._leave_out_next_stages()
        super().perform_actual_validation(save_probabilities)

    def _leave_out_next_stages(self) -> None:
        wanted: list[str] = self.configuration_manager.next_stage_names or []
        there = [name for name in wanted if self._is_preprocessed(name)]
        if there != wanted:
            missing = ", ".join(name for name in wanted if name not in there)
            self.print_to_log_file(f"{missing}: not preprocessed, so nothing is predicted for it.")
            own = {**self.configuration_manager.configuration, "next_stage": there or None}
            self.configuration_manager = ConfigurationManager(own)

    def _is_preprocessed(self, configuration: str) -> bool:
        data = self.plans_manager.get_configuration(configuration).data_identifier
        folder = Path(self.preprocessed_dataset_folder_base) / data
        return folder.is_dir() and any(folder.iterdir())

    # a longer training

    def _find_shorter(self) -> None:
        """With ``--c`` and no checkpoint yet: go on from a finished training that differs in its length alone."""
        if self._continues and self.local_rank == 0:
            model, own = self._model_folder(), Path(self.output_folder)
            if not any((own / name).is_file() for name in (FINAL, LATEST, BEST)):
                self._shorter = longer.finished_shorter(model, self.fold)
            if self._shorter:
                labels = self.dataset_json["labels"]
                longer.go_on_from(self._shorter, model, self.fold, self.plans_manager.plans, labels)
        if self._continues and self.is_ddp:
            torch.distributed.barrier()

    def _tell_of_shorter(self, shorter: ModelFolder) -> None:
        done, last = self.current_epoch, self.logger.get_value("lrs", step=-1)
        rates = []
        for epoch in (done - 1, done):
            self.lr_scheduler.step(epoch)
            rates.append(self.optimizer.param_groups[0]["lr"])
        self.print_to_log_file(
            f"{type(self).__name__} goes on from the finished {shorter.trainer}, after its {done} epochs: with its "
            f"weights, optimizer and log. Nothing in its folder changes. "
            f"{longer.schedule_told(self.num_epochs, done, last, rates[0], rates[1])}"
        )

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

        It is read as data: nothing in it is executed.

        Raises:
            TrainingError: it is damaged, and the training does not go on or has no other.
            CheckpointError: it holds more than data.
        """
        if isinstance(filename_or_checkpoint, str):
            readable = self._readable(Path(filename_or_checkpoint))
            refuse_code(readable, "Go on from a checkpoint that a training of nnU-Net wrote.")
            filename_or_checkpoint = str(readable)
        self._restores = True
        with data_only():
            super().load_checkpoint(filename_or_checkpoint)
        if self._shorter:
            self._tell_of_shorter(self._shorter)
            self._shorter = None

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
