"""Two stages of a cascade with networks of real size for `gpu.py`, trained for a minute on phantoms.

Random weights would label specks everywhere, so that boxes around kidneys would mean nothing. A few hundred iterations
are enough to find a phantom's kidneys; the tables state the Dice that came of it. The patches are drawn here, without
augmentation; network, loss, mixed precision and checkpoint are the trainer's. The coarse label map that the fine stage
reads is the truth sampled at every third voxel.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_data import PLANS
from trainers import DATASET, described, make_trainer

TRAINER = "ResUNetTrainer"
STAGES = ("3d_lowres", "3d_cascade_fullres")


def model_folder(folder: Path, configuration: str) -> Path:
    """Where nnU-Net keeps a model."""
    return folder / "nnUNet_results" / DATASET / f"{TRAINER}__{PLANS}__{configuration}"


def train_stage(
    folder: Path, configuration: str, iterations: int, rate: float, device: str, until: float
) -> dict[str, Any]:
    """Train one stage and write its model folder.

    Args:
        folder: with the data.
        configuration: of the plans.
        iterations: at most.
        rate: the learning rate, which decays to 0.
        device: ``cuda`` or ``cpu``.
        until: time of day, in seconds since the epoch, at which to end.

    Returns:
        What the training came to.
    """
    torch.manual_seed(0)
    plans, dataset = described(folder, PLANS)
    trainer = make_trainer(TRAINER, plans, configuration, dataset, device)
    trainer.enable_deep_supervision = False
    trainer.configure_optimizers = lambda: (torch.optim.AdamW(trainer.network.parameters(), rate), None)
    trainer.initialize()
    trainer.network.train()
    draw = Patches(trainer, device)
    losses, start = [], time.perf_counter()
    for done in range(iterations):
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate * (1 - done / iterations) ** 0.9
        losses.append(float(trainer.train_step(draw())["loss"]))
        if time.time() > until:
            break
    out = model_folder(folder, configuration)
    (out / "plans.json").write_text(json.dumps(plans))
    (out / "dataset.json").write_text(json.dumps(dataset))
    trainer.save_checkpoint(str(out / "fold_all" / "checkpoint_final.pth"))
    return {
        "stage": configuration,
        "iterations": len(losses),
        "seconds": time.perf_counter() - start,
        "first loss": float(np.mean(losses[:5])),
        "last loss": float(np.mean(losses[-5:])),
        "parameters, millions": sum(weights.numel() for weights in trainer.network.parameters()) / 1e6,
    }


class Patches:
    """Batches of patches out of a trainer's preprocessed cases, which are kept on the device."""

    def __init__(self, trainer: Any, device: str) -> None:
        self.size = [int(edge) for edge in trainer.configuration_manager.patch_size]
        self.labels = trainer.label_manager.foreground_labels if trainer.is_cascaded else []
        self.batch, self.rng = trainer.configuration_manager.batch_size, np.random.default_rng(0)
        self.cases = []
        data = trainer.dataset_class(trainer.preprocessed_dataset_folder)
        for name in data.identifiers:
            image, truth, _, properties = data.load_case(name)
            pair = (torch.from_numpy(np.array(image[:], np.float32)), torch.from_numpy(np.array(truth[:], np.float32)))
            places = np.concatenate([found for found in properties["class_locations"].values() if len(found)])
            self.cases.append((*(tensor.to(device) for tensor in pair), places[:, 1:]))

    def __call__(self) -> dict[str, Any]:
        """A batch as nnU-Net's loaders give it: two of three patches are centred on a labelled voxel."""
        images, targets = [], []
        for _ in range(self.batch):
            image, truth, places = self.cases[self.rng.integers(len(self.cases))]
            shape = np.array(image.shape[1:])
            centre = places[self.rng.integers(len(places))] if self.rng.random() < 2 / 3 else self.rng.integers(shape)
            first = np.clip(centre - np.array(self.size) // 2, 0, np.maximum(shape - self.size, 0))
            part = (slice(None), *(slice(at, at + edge) for at, edge in zip(first, self.size, strict=True)))
            images.append(self._whole(torch.cat([image[part], self._coarse(truth[part])]), 0.0))
            targets.append(self._whole(truth[part].clamp(min=0), 0.0))
        return {"data": torch.stack(images), "target": torch.stack(targets)}

    def _coarse(self, truth: torch.Tensor) -> torch.Tensor:
        """One channel a label, as a coarse stage would give it; none where the stage reads none."""
        if not self.labels:
            return truth[:0]
        edges = [torch.arange(size, device=truth.device) // 3 * 3 for size in truth.shape[1:]]
        rough = truth[0][edges[0]][:, edges[1]][:, :, edges[2]]
        return torch.stack([(rough == label).float() for label in self.labels])

    def _whole(self, patch: torch.Tensor, value: float) -> torch.Tensor:
        """Padded to the size of a patch, where a case is smaller."""
        lacking = [edge - size for edge, size in zip(self.size, patch.shape[1:], strict=True)]
        return torch.nn.functional.pad(patch, [n for by in reversed(lacking) for n in (0, by)], value=value)
