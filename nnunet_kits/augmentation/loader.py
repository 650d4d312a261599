"""nnU-Net's loader, which reads of a case no more than the patch is made of.

nnU-Net cuts every patch with the margin that rotations need and then throws most of it away. Here the spatial transform
draws first, in the same order of draws, and only the box that it asks for is read and decompressed.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import blosc2
import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from nnunet_kits.augmentation.pipeline import is_accelerated
from nnunet_kits.augmentation.placement import PLACED, Placed
from nnunet_kits.augmentation.set_steps import OneOf
from nnunet_kits.errors import KitsError, TrainingError
from nnunet_kits.machine import keep_freed_memory, thread_pools

PADDING_IMAGE, PADDING_LABEL = 0, -1
"""What nnU-Net's loader puts around a case."""


class Locations(Mapping[Any, Any]):
    """``class_locations`` of a case, read when they are first asked for: most patches do not.

    Args:
        file: the case's properties.
    """

    def __init__(self, file: str) -> None:
        self.file = file

    @functools.cached_property
    def found(self) -> Mapping[Any, Any]:
        """Label or tuple of labels -> voxels.

        Raises:
            TrainingError: the file is missing or damaged, or does not have them.
        """
        try:
            return load_pickle(self.file)["class_locations"]  # type: ignore[no-any-return]
        except Exception as error:  # a damaged pickle raises nearly anything
            raise TrainingError(
                f"{self.file}: holds no locations of the classes ({type(error).__name__}: {error}), from which patches "
                "with foreground are drawn. Preprocess the case again."
            ) from error

    def __getitem__(self, key: Any) -> Any:
        return self.found[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


@dataclass(frozen=True)
class Case:
    """A preprocessed case, opened.

    Attributes:
        image: (channels, z, y, x), read where it is indexed.
        labels: (1, z, y, x).
        previous: (z, y, x), the stage before a cascade, or None.
        locations: ``class_locations``.
    """

    image: Any
    labels: Any
    previous: Any
    locations: Mapping[Any, Any]


def open_case(dataset: Any, name: str) -> Case:
    """Open a case of a dataset of nnU-Net's; its voxels are read later, and its locations if they are asked for.

    Raises:
        TrainingError: a file that is missing or damaged.
    """
    if type(dataset) is not nnUNetDatasetBlosc2:
        image, labels, previous, properties = dataset.load_case(name)
        return Case(image, labels, previous, properties["class_locations"])
    stem = os.path.join(dataset.source_folder, name)
    before = dataset.folder_with_segs_from_previous_stage
    return Case(
        _opened(f"{stem}.b2nd", dataset.mmap_kwargs),
        _opened(f"{stem}_seg.b2nd", dataset.mmap_kwargs),
        None if before is None else _opened(os.path.join(before, f"{name}.b2nd"), dataset.mmap_kwargs),
        Locations(f"{stem}.pkl"),
    )


def _opened(file: str, options: Mapping[str, Any]) -> Any:
    try:
        return blosc2.open(urlpath=file, mode="r", dparams={"nthreads": 1}, **options)
    except Exception as error:  # blosc2 raises several unrelated types
        raise _unreadable(file, error) from error


def _unreadable(file: str, error: Exception) -> TrainingError:
    return TrainingError(
        f"{file}: cannot be read ({type(error).__name__}: {error}). It is missing or damaged: preprocess the case "
        "again, or predict it again if it is of the stage before a cascade."
    )


def _cut(array: Any, lower: Sequence[int], upper: Sequence[int], padding: int, kind: Any = None) -> np.ndarray:
    """A box of a case, padded where it reaches beyond."""
    box = [[a, b] for a, b in zip(lower, upper, strict=True)]
    try:
        return crop_and_pad_nd(array, box, padding, cast_cropped_to=kind)  # type: ignore[no-any-return]
    except Exception as error:
        raise _unreadable(str(getattr(array, "urlpath", "a case")), error) from error


class BoxLoader(nnUNetDataLoader):
    """nnU-Net's loader for transforms that :func:`~nnunet_kits.augmentation.pipeline.accelerate` has made.

    Cases, places and batches are drawn by nnU-Net's own methods, so subclasses override what they would override there.
    With other transforms it is nnU-Net's loader.
    """

    failures: Any = None
    """Where a process that loads says what went wrong in it: a queue of texts."""

    def set_thread_id(self, thread_id: int) -> None:
        """Number of the process that loads. Its draws become its own: torch's state is a copy in all of them.

        With our transforms it keeps the memory of one patch for the next.
        """
        super().set_thread_id(thread_id)
        if self.failures is not None:
            if is_accelerated(self.transforms):
                keep_freed_memory()
            torch.manual_seed(int(np.random.randint(2**31)))

    def __next__(self) -> dict[str, Any]:
        """A batch; what goes wrong is told before it is raised."""
        try:
            return super().__next__()  # type: ignore[no-any-return]
        except Exception as error:
            if self.failures is not None:
                told = str(error) if isinstance(error, KitsError) else f"{type(error).__name__}: {error}"
                self.failures.put(f"{told} (in a loading process)")
            raise

    def generate_train_batch(self) -> dict[str, Any]:
        """A batch as nnU-Net's loader makes it: data, target (one, or one a resolution) and keys."""
        if not is_accelerated(self.transforms):
            return super().generate_train_batch()  # type: ignore[no-any-return]
        keys = self.get_indices()
        data: torch.Tensor | None = None
        targets: list[torch.Tensor] = []
        with torch.no_grad(), thread_pools().limit(limits=1):
            for number, key in enumerate(keys):
                image, labels = self._sample(key, self.get_do_oversample(number))
                several = isinstance(labels, list)
                scales = labels if several else [labels]
                if data is None:
                    data = torch.empty((self.batch_size, *image.shape))
                    targets = [torch.empty((self.batch_size, *scale.shape), dtype=scale.dtype) for scale in scales]
                data[number] = image
                for target, scale in zip(targets, scales, strict=True):
                    target[number] = scale
        return {"data": data, "target": targets if several else targets[0], "keys": keys}

    def _sample(self, key: str, with_foreground: bool) -> tuple[torch.Tensor, Any]:
        """One patch of a case, transformed."""
        case = open_case(self._data, key)
        size = case.image.shape[1:]
        lower, upper = ([int(bound) for bound in side] for side in self.get_bbox(size, with_foreground, case.locations))
        given: dict[str, Any] = {}
        transforms = self.transforms.different(1)[0] if isinstance(self.transforms, OneOf) else self.transforms
        spatial = transforms.spatial
        if spatial is not None and (spatial.padding_image, spatial.padding_label) == (PADDING_IMAGE, PADDING_LABEL):
            dimensions = 2 if self.patch_size_was_2d or transforms.planes else 3
            lower, upper, given[PLACED] = _needed(spatial, dimensions, lower, upper, size)
        image = torch.from_numpy(_cut(case.image, lower, upper, PADDING_IMAGE)).float()
        labels = torch.from_numpy(_cut(case.labels, lower, upper, PADDING_LABEL, np.int16)).to(torch.int16)
        if case.previous is not None:
            previous = torch.from_numpy(_cut(case.previous, lower, upper, PADDING_LABEL, np.int16)).to(torch.int16)
            labels = torch.cat((labels, previous[None]))
        if self.patch_size_was_2d:
            image, labels = image[:, 0], labels[:, 0]
        made = transforms(image=image, segmentation=labels, **given)
        return made["image"], made["segmentation"]


def _needed(
    spatial: Any, dimensions: int, lower: Sequence[int], upper: Sequence[int], size: Sequence[int]
) -> tuple[list[int], list[int], Placed]:
    """The part of a patch with its margin that a spatial transform reads, which draws now.

    Args:
        spatial: the transform.
        dimensions: of what it is given, 2 or 3: the last ones.
        lower: bounds of the patch with its margin, (z, y, x).
        upper: the same.
        size: of the case.

    Returns:
        Bounds of the part, and what was drawn.
    """
    shape = tuple(b - a for a, b in zip(lower, upper, strict=True))[-dimensions:]
    drawn = spatial.draw(torch.empty(1).expand(1, *shape))
    first, last = spatial.source_box(drawn, shape)
    more = 3 - dimensions
    inner_lower = [*lower[:more], *(a + b for a, b in zip(lower[more:], first, strict=True))]
    inner_upper = [*upper[:more], *(a + b for a, b in zip(lower[more:], last, strict=True))]
    if any(b <= 0 or a >= edge for a, b, edge in zip(inner_lower, inner_upper, size, strict=True)):
        return list(lower), list(upper), Placed(drawn, shape, (0,) * dimensions)  # nothing but padding
    return inner_lower, inner_upper, Placed(drawn, shape, tuple(first))
