"""Does CUDA say what the CPU says? For `gpu.py`: predictions of one small CT, and training steps of every part."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from gpu_data import HELD_OUT, PLANS, Scale
from gpu_models import STAGES, model_folder
from trainers import described, make_trainer, shrunk

EXTENT_MM = (100.0, 100.0, 140.0)
STEPS = 3


def predictions(folder: Path, device: str) -> Iterator[dict[str, Any]]:
    """The cascade on a piece of CT around one kidney: logits and labels of the device against the CPU's."""
    from nnunet_kits.inference.coarse_to_fine import Settings, predict_array
    from nnunet_kits.inference.files import Job, load

    image, label, spacing = held_out(folder)
    image = np.ascontiguousarray(image[around(label, spacing)])
    folders = [str(model_folder(folder, stage)) for stage in STAGES]
    yield one_window(folders[0], image, device)
    found = {}
    for place in ("cpu", device):
        models = load(Job(fine=(folders[1],), coarse=folders[0], folds=("all",), device=place))
        settings = Settings(mirror=False, whole_volume=True)
        found[place] = predict_array(image, spacing, models.fine, models.coarse, settings)
    ours, theirs = found[device], found["cpu"]
    yield {
        "what": f"predict, a cascade on {'x'.join(map(str, image.shape))} voxels",
        **apart(ours.answers[0][0].scores, theirs.answers[0][0].scores),
        "labels differ in": float((ours.labels != theirs.labels).mean()),
        "labelled voxels": int((theirs.labels > 0).sum()),
    }


def held_out(folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Image and labels of the held-out case as the plans' reader gives them, and mm along their axes."""
    files = folder / "test" / "in" / f"{HELD_OUT}_0000.nii.gz", folder / "test" / f"{HELD_OUT}.nii.gz"
    volumes = [nib.as_closest_canonical(nib.load(file)) for file in files]
    image, label = (np.asarray(volume.dataobj).transpose(2, 1, 0) for volume in volumes)
    x, y, z = (float(edge) for edge in volumes[0].header.get_zooms())
    return image, label, (z, y, x)


def around(label: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, ...]:
    """A box of :data:`EXTENT_MM` around the middle of the larger half of the labelled voxels."""
    middle = label.shape[2] // 2
    left = (label[:, :, :middle] > 0).sum() > (label[:, :, middle:] > 0).sum()
    half = slice(0, middle) if left else slice(middle, None)
    centre = np.argwhere(label[:, :, half] > 0).mean(0) + (0, 0, half.start)
    sizes = [max(1, round(mm / edge)) for mm, edge in zip(EXTENT_MM, spacing, strict=True)]
    first = [max(0, round(at - n / 2)) for at, n in zip(centre, sizes, strict=True)]
    return tuple(slice(at, at + n) for at, n in zip(first, sizes, strict=True))


def one_window(model: str, image: np.ndarray, device: str) -> dict[str, Any]:
    """The coarse network on one window, in single precision on both: what the device itself does otherwise."""
    from nnunet_kits.inference.model import load_model

    answers = []
    for place in ("cpu", device):
        found = load_model(Path(model), torch.device(place), ("all",))
        window = np.resize(image, found.patch_size).astype(np.float32) / 200
        with torch.inference_mode():
            answers.append(found.network(torch.from_numpy(window)[None, None].to(place)))
    return {
        "what": "the coarse network, one window, single precision (CUDA may take TF32)",
        **apart(*reversed(answers)),
    }


def apart(a: torch.Tensor, b: torch.Tensor) -> dict[str, float]:
    """How far two tensors of logits are from each other, and how they spread."""
    a, b = a.float().cpu(), b.float().cpu()
    difference = (a - b).abs()
    return {
        "largest difference": float(difference.max()),
        "mean difference": float(difference.mean()),
        "standard deviation": float(b.std()),
    }


def steps(folder: Path, scale: Scale, device: str) -> Iterator[dict[str, Any]]:
    """Losses of a few training steps from the same weights on the same batch, for every network and loss."""
    from nnunet_kits.architectures import NETWORKS
    from nnunet_kits.errors import KitsError
    from nnunet_kits.losses import DEFAULT_LOSS, LOSSES

    plans, dataset = described(folder, PLANS)
    whole = copy.deepcopy(plans)
    whole["configurations"]["3d_fullres"] |= {"patch_size": [scale.step_patch] * 3}
    yield step("ResUNetTrainer", whole, dataset, device, scale.features)
    configuration = plans["configurations"]["3d_fullres"]
    configuration |= shrunk(configuration, 32, (8, 32), 4)
    names = [f"{network}Trainer" for network in NETWORKS if not network.endswith("2D")]
    names += [f"ResUNetTrainer_{loss}" for loss in LOSSES if loss != DEFAULT_LOSS]
    names += ["ResUNetTrainer_AdamWCosine", "ResUNetTrainer_Mixup"]
    for name in names:
        try:
            yield step(name, plans, dataset, device, (8, 32))
        except KitsError as error:
            yield {"what": f"{name}, {STEPS} steps", "left out": str(error)}


def step(name: str, plans: dict[str, Any], dataset: dict[str, Any], device: str, features: tuple[int, int]) -> Any:
    """One trainer on both devices."""
    losses: dict[str, list[float]] = {}
    weights = None
    for place in ("cpu", device):
        np.random.seed(0)
        torch.manual_seed(0)
        trainer = make_trainer(name, plans, "3d_fullres", dataset, place)
        trainer.initialize()
        weights = weights or {key: value.clone() for key, value in trainer.network.state_dict().items()}
        trainer.network.load_state_dict(weights)
        trainer.network.train()
        if trainer.grad_scaler is not None:
            trainer.grad_scaler = torch.amp.GradScaler(device, init_scale=256.0)  # nnU-Net's own skips the first steps
        np.random.seed(0)
        torch.manual_seed(0)
        batch = striped_batch(trainer)
        losses[place] = [float(trainer.train_step(copy.deepcopy(batch))["loss"]) for _ in range(STEPS)]
    pairs = list(zip(losses["cpu"], losses[device], strict=True))
    return {
        "what": f"{name}, {STEPS} steps, {features[0]} to {features[1]} features",
        "losses, CPU": [ours for ours, _ in pairs],
        f"losses, {device}": [theirs for _, theirs in pairs],
        "largest difference": max(abs(a - b) for a, b in pairs),
    }


def striped_batch(trainer: Any) -> dict[str, Any]:
    """Images whose intensity tells the label, with noise, and targets at the trainer's resolutions."""
    patch = [int(edge) for edge in trainer.configuration_manager.patch_size]
    labels = torch.arange(patch[2]).div(8, rounding_mode="floor").remainder(4).expand(trainer.batch_size, 1, *patch)
    targets = [
        torch.nn.functional.interpolate(labels.float(), [round(e * s) for e, s in zip(patch, scale, strict=True)])
        for scale in trainer._get_deep_supervision_scales()
    ]
    return {"data": labels + 0.5 * torch.randn(labels.shape), "target": targets}
