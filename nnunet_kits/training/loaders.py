"""Training loaders: nnU-Net's own, reading only what is used, with another choice of patches.

Padding, the second channel of a cascade and what the transforms do stay nnU-Net's; overridden here is only which
cases (``plan``), where (``place``) and how often (``generate_train_batch``).
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunet_kits.augmentation.loader import BoxLoader
from nnunet_kits.augmentation.pipeline import is_accelerated
from nnunet_kits.augmentation.set_steps import OneOf
from nnunet_kits.augmentation.warming import compile_loops
from nnunet_kits.training.feeding import loading_processes
from nnunet_kits.training.passes import Passes
from nnunet_kits.training.sampling import Sampling
from nnunet_kits.training.workers import Workers

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

ClassLocations = Mapping[Any, Any]
"""What nnU-Net's preprocessing keeps of a case: label, or tuple of labels for a region -> voxels (n, 4): 0, z, y, x."""

Bounds = tuple[list[int], list[int]]
"""Lower and upper bounds of a patch; they may lie outside the image."""


class KitsLoader(BoxLoader):
    """nnU-Net's loader, reading only what is used, told what any of ours may need.

    Args:
        *given: nnU-Net's.
        shares: sets of labels to aim at -> share of the patches that are made to show foreground.
        plain_transforms: what an image goes through that is not augmented.
        **options: nnU-Net's.
    """

    def __init__(
        self, *given: Any, shares: Mapping[frozenset[int], float], plain_transforms: Any, **options: Any
    ) -> None:
        super().__init__(*given, **options)
        self.shares = shares
        self.plain_transforms = plain_transforms
        self._plan: list[tuple[str, Any]] = []
        self._sample_idx = 0

    def plan(self) -> list[tuple[str, Any]]:
        """The case of every patch of the next batch, and what the patch aims at; here nnU-Net's draw, and None."""
        return [(case, None) for case in super().get_indices()]

    def get_indices(self) -> np.ndarray:
        """The cases of a batch."""
        self._plan = self.plan()
        return np.array([case for case, _ in self._plan])

    @property
    def now(self) -> tuple[str, Any]:
        """Case and aim of the patch whose ``place`` is asked for."""
        return self._plan[self._sample_idx]

    def _oversample_last_XX_percent(self, sample_idx: int) -> bool:
        """nnU-Net's answer; it asks this of every patch before it asks for its place."""
        self._sample_idx = sample_idx
        return bool(super()._oversample_last_XX_percent(sample_idx))

    def get_bbox(
        self,
        data_shape: Any,
        force_fg: bool,
        class_locations: Any,
        overwrite_class: Any = None,
        verbose: bool = False,
    ) -> Bounds:
        """The patch's box, as nnU-Net asks for it: :meth:`place` says which."""
        return self.place(data_shape, force_fg, class_locations)

    def place(self, data_shape: Any, force_fg: bool, class_locations: ClassLocations) -> Bounds:
        """The box of a patch, which shows foreground if ``force_fg``; here as nnU-Net draws it."""
        lower, upper = super().get_bbox(data_shape, force_fg, class_locations)
        return lower, upper

    def random_place(self, data_shape: Any, class_locations: ClassLocations) -> Bounds:
        """The box of a patch that need not show foreground, as nnU-Net draws it."""
        return KitsLoader.place(self, data_shape, False, class_locations)


class PassLoader(KitsLoader):
    """Goes through all cases, or what else there is to go through, once a pass: see :class:`Passes`.

    Loading processes share out each pass; each of several GPUs has passes of its own.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._things = self.things()
        self._passes = Passes(len(self._things), int(np.random.randint(2**31)))
        self._batches = 0

    def things(self) -> list[tuple[str, Any]]:
        """Case and aim of all that is gone through."""
        return [(case, None) for case in self.indices]

    def plan(self) -> list[tuple[str, Any]]:
        """The next in the row, after those that the other processes take meanwhile."""
        turn = self._batches * self.number_of_threads_in_multithreaded + self.thread_id
        self._batches += 1
        return [self._things[thing] for thing in self._passes.at(turn * self.batch_size, self.batch_size)]


def foreground(class_locations: ClassLocations) -> dict[Any, np.ndarray]:
    """The locations of classes and regions that a case has; not those that only tell where it is annotated at all."""
    return {
        key: np.asarray(found)
        for key, found in class_locations.items()
        if len(found) and not (isinstance(key, tuple) and -1 in key)
    }


class TripleLoader(KitsLoader):
    """Every patch once as it is and twice augmented: ``batch_size`` patches make a batch of three times as many images.

    Source: Zhang, "UNet-based Segmentation of Kidney and Kidney Tumor in 3D Computed Tomography Images", figure 3.
    """

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        dimensions = 2 if self.patch_size_was_2d else 3
        margin = np.subtract(self.patch_size, self.final_patch_size)[-dimensions:] // 2
        inner = [
            slice(int(m), int(m) + int(size))
            for m, size in zip(margin, self.final_patch_size[-dimensions:], strict=True)
        ]
        self.transforms: Any = Triple(inner, self.plain_transforms, options["transforms"])

    def generate_train_batch(self) -> dict[str, Any]:
        """A batch: (patches * 3, channels, [z,] y, x), the three of one patch side by side."""
        batch = super().generate_train_batch()
        target = batch["target"]
        return {
            "data": batch["data"].flatten(0, 1),
            "target": [t.flatten(0, 1) for t in target] if isinstance(target, list) else target.flatten(0, 1),
            "keys": np.repeat(batch["keys"], 3),
        }


class Triple:
    """What :class:`TripleLoader` puts in place of the transforms: three results of one patch, stacked in front.

    Args:
        inner: the part of the patch that is the network's, without the margin that rotations need.
        plain: transforms of the first.
        augmented: transforms of the two others; of several to choose from, two different ones.
    """

    def __init__(self, inner: Sequence[slice], plain: Any, augmented: Any) -> None:
        self.inner, self.plain, self.augmented = tuple(inner), plain, augmented

    def __call__(self, image: torch.Tensor, segmentation: torch.Tensor) -> dict[str, Any]:
        """Image (c, [z,] y, x) -> (3, c, [z,] y, x), and so the segmentation, or each of a list of them."""
        inner = (slice(None), *self.inner)
        copies = self.augmented.different(2) if isinstance(self.augmented, OneOf) else [self.augmented] * 2
        results = [
            self.plain(image=image[inner].clone(), segmentation=segmentation[inner].clone()),
            *(augmented(image=image.clone(), segmentation=segmentation.clone()) for augmented in copies),
        ]
        targets = [result["segmentation"] for result in results]
        return {
            "image": torch.stack([result["image"] for result in results]),
            "segmentation": [torch.stack(scale) for scale in zip(*targets, strict=True)]
            if isinstance(targets[0], list)
            else torch.stack(targets),
        }


def dataloaders(
    trainer: "nnUNetTrainer", sampling: Sampling, shares: Mapping[frozenset[int], float]
) -> tuple[Any, Any]:
    """Running loaders of a trainer: for training the sampling's, for validation patches drawn as nnU-Net draws them.

    Args:
        trainer: initialised.
        sampling: which patches make a batch.
        shares: as :class:`KitsLoader` takes them.

    Returns:
        Training and validation loader; each has made its first batch.
    """
    training, validation = _loaders(trainer, sampling, shares)
    on_gpu = trainer.device.type == "cuda"
    processes = loading_processes(get_allowed_n_proc_DA(), on_gpu, processes_of(trainer))
    if processes:
        for transforms in (getattr(training.transforms, "augmented", training.transforms), validation.transforms):
            compile_loops(transforms, len(trainer.configuration_manager.patch_size))
    running = (
        _in_processes(training, processes, max(6, processes // 2), on_gpu),
        _in_processes(validation, max(1, processes // 2) if processes else 0, max(3, processes // 4), on_gpu),
    )
    for loader in running:
        next(loader)
    return running


def processes_of(trainer: "nnUNetTrainer") -> int:
    """How many processes train together, one a GPU."""
    return torch.distributed.get_world_size() if trainer.is_ddp else 1


def _loaders(
    trainer: "nnUNetTrainer", sampling: Sampling, shares: Mapping[frozenset[int], float]
) -> tuple[KitsLoader, BoxLoader]:
    """The loaders of training and validation, which do nothing yet."""
    with_margin, augmented, plain = _transforms(trainer)
    training, validation = trainer.get_tr_and_val_datasets()
    patch_size, labels = trainer.configuration_manager.patch_size, trainer.label_manager
    share = {
        "oversample_foreground_percent": trainer.oversample_foreground_percent,
        "probabilistic_oversampling": trainer.probabilistic_oversampling,
    }
    training_loader = _loader_class(sampling)(
        training,
        trainer.batch_size // sampling.images_per_case,
        with_margin,
        patch_size,
        labels,
        transforms=augmented,
        plain_transforms=plain,
        shares=shares,
        **share,
    )
    return training_loader, BoxLoader(
        validation, trainer.batch_size, patch_size, patch_size, labels, transforms=plain, **share
    )


def _transforms(trainer: "nnUNetTrainer") -> tuple[Any, Any, Any]:
    """Size of a patch with the margin that its augmentation needs, the augmentation, and what goes without one."""
    manager, labels = trainer.configuration_manager, trainer.label_manager
    scales = trainer._get_deep_supervision_scales()
    rotation, dummy_2d, with_margin, mirrored = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    task = {
        "is_cascaded": trainer.is_cascaded,
        "foreground_labels": labels.foreground_labels,
        "regions": labels.foreground_regions if labels.has_regions else None,
        "ignore_label": labels.ignore_label,
    }
    masks = manager.use_mask_for_norm
    augmented = trainer.get_training_transforms(
        manager.patch_size, rotation, scales, mirrored, dummy_2d, use_mask_for_norm=masks, **task
    )
    whose = "our loops" if is_accelerated(augmented) else "nnU-Net's transforms"
    trainer.print_to_log_file(f"Patches are augmented by {whose}.")
    return with_margin, augmented, trainer.get_validation_transforms(scales, **task)


def _loader_class(sampling: Sampling) -> type[KitsLoader]:
    """The loader of a sampling; that of nnU-Net's own draws as nnU-Net does."""
    if sampling.loader is None:
        return KitsLoader
    module, _, name = sampling.loader.rpartition(".")
    return getattr(import_module(module), name)


def _in_processes(loader: BoxLoader, processes: int, batches_ahead: int, pinned: bool) -> Any:
    """The loader in background processes, or in this one if there are to be none."""
    if processes == 0:
        return SingleThreadedAugmenter(loader, None)
    return Workers(loader, processes, batches_ahead, pinned)


def share_of_process(patches: int, foreground_share: float, processes: int, rank: int) -> tuple[int, float]:
    """What one of several processes makes of a batch, shared out so that all together make it as one would.

    Args:
        patches: of the whole batch.
        foreground_share: of the patches, the last of them, that must show foreground.
        processes: how many there are.
        rank: which of them, from 0.

    Returns:
        Patches of the process, and the share of these that must show foreground.
    """
    counts = [patches // processes + (other < patches % processes) for other in range(processes)]
    first = sum(counts[:rank])
    first_foreground = round(patches * (1 - foreground_share))
    here = range(first, first + counts[rank])
    return len(here), sum(patch >= first_foreground for patch in here) / len(here)
