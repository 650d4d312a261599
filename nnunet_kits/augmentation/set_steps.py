"""Transforms of the sets that nnU-Net does not have, and choices among transforms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform


class RootOfRange:
    """Standard deviations whose squares are drawn evenly, as nnU-Net's transforms ask for a number.

    Args:
        variance: lowest and highest.
    """

    def __init__(self, variance: Sequence[float]) -> None:
        self.variance = tuple(variance)

    def __call__(self, *_: Any, **__: Any) -> float:
        """One standard deviation."""
        low, high = self.variance
        return float(np.sqrt(np.random.uniform(low, high)))


class Clip(ImageOnlyTransform):
    """Intensities below and above a range become its ends.

    Args:
        low: lowest.
        high: highest.
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        return img.clamp_(self.low, self.high)


class BrightnessAndContrast(ImageOnlyTransform):
    """Brightness, then contrast, of an image stretched from 0 to 1, and clipped to that after each.

    Brightness is a factor; contrast a factor about the mean of each slice. Both are the same for all slices.

    Args:
        brightness: lowest and highest factor.
        contrast: lowest and highest factor.

    Source: torchvision, ``adjust_brightness`` and ``adjust_contrast``.
    """

    def __init__(self, brightness: Sequence[float], contrast: Sequence[float]) -> None:
        super().__init__()
        self.brightness, self.contrast = tuple(brightness), tuple(contrast)

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """The two factors."""
        return {name: float(np.random.uniform(*getattr(self, name))) for name in ("brightness", "contrast")}

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        for channel in img:
            low, high = channel.aminmax()
            if low == high:
                continue
            channel.sub_(low).mul_(params["brightness"] / (high - low)).clamp_(0, 1)
            means = channel.mean(dim=(-2, -1), keepdim=True)
            channel.sub_(means).mul_(params["contrast"]).add_(means).clamp_(0, 1).mul_(high - low).add_(low)
        return img


class Within(BasicTransform):
    """An intensity transform, done to the voxels of some labels alone.

    Args:
        labels: of the voxels, in the first channel of the segmentation.
        transform: what is done to them.
    """

    def __init__(self, labels: Sequence[int], transform: BasicTransform) -> None:
        super().__init__()
        self.labels, self.transform = tuple(labels), transform

    def __call__(self, **data_dict: Any) -> dict[str, Any]:
        """Change the image within the labels, if there are at least two voxels of them."""
        image, segmentation = data_dict["image"].contiguous(), data_dict["segmentation"][0].numpy()
        inside = np.logical_or.reduce([segmentation == label for label in self.labels])
        voxels, values = torch.from_numpy(np.flatnonzero(inside)), image.flatten(1)
        if len(voxels) > 1:
            values[:, voxels] = self.transform(image=values[:, voxels])["image"]
        return data_dict | {"image": image}


class OneOf(BasicTransform):
    """One of several pipelines, drawn for each patch.

    Args:
        pipelines: at least two.
    """

    def __init__(self, pipelines: Sequence[BasicTransform]) -> None:
        super().__init__()
        self.pipelines = list(pipelines)

    def different(self, count: int) -> list[BasicTransform]:
        """So many of the pipelines, no two the same."""
        return [self.pipelines[n] for n in np.random.choice(len(self.pipelines), count, replace=False)]

    def __call__(self, **data_dict: Any) -> dict[str, Any]:
        """Do what one of them does."""
        return self.different(1)[0](**data_dict)  # type: ignore[no-any-return]
