"""Label maps on their way to the loss: removed labels, the cascade's channels, regions, lower resolutions.

Regions are looked up, not compared label by label, and lower resolutions are picked from the labels before these become
regions: the nearest voxel of a region is the region of the nearest voxel.
"""

import functools
import math
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import SegOnlyTransform
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from torch.nn.functional import interpolate

from nnunet_kits.augmentation import label_kernels as kernels
from nnunet_kits.augmentation.drawn import Drawn


def _flat(labels: torch.Tensor) -> np.ndarray:
    return labels.reshape(-1).numpy()


class RemoveLabel(Drawn, SegOnlyTransform):
    """nnU-Net's ``RemoveLabelTransform`` in one pass."""

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **params: Any) -> torch.Tensor:
        if segmentation.dtype != torch.int16 or not segmentation.is_contiguous():
            return self.stock._apply_to_segmentation(segmentation, **params)
        channels = self.stock.segmentation_channels
        for channel in range(len(segmentation)) if channels is None else channels:
            kernels.replace(_flat(segmentation[channel]), np.int16(self.stock.label_value), np.int16(self.stock.set_to))
        return segmentation


class OneHot(Drawn):
    """nnU-Net's ``MoveSegAsOneHotToDataTransform``, each channel written once."""

    def apply(self, data_dict: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Move one channel of the segmentation to the image."""
        image, labels = data_dict["image"], data_dict["segmentation"]
        if image.dtype != torch.float32 or labels.dtype != torch.int16:
            return self.stock.apply(data_dict, **params)  # type: ignore[no-any-return]
        source, wanted = self.stock.source_channel_idx, np.asarray(self.stock.all_labels, dtype=np.int16)
        out = torch.empty((len(image) + len(wanted), *image.shape[1:]), dtype=torch.float32)
        out[: len(image)] = image
        voxels = math.prod(image.shape[1:])
        kernels.one_hot(_flat(labels[source]), wanted, out[len(image) :].view(len(wanted), voxels).numpy())
        data_dict["image"] = out
        if self.stock.remove_channel_from_source:
            data_dict["segmentation"] = labels[[c for c in range(len(labels)) if c != source]]
        return data_dict


@functools.lru_cache(maxsize=64)
def nearest_voxels(n: int, coarse: int) -> np.ndarray:
    """The voxels of an axis of ``n`` that torch's ``nearest-exact`` interpolation keeps for ``coarse``."""
    axis = torch.arange(n, dtype=torch.float32)[None, None]
    return interpolate(axis, [coarse], mode="nearest-exact")[0, 0].to(torch.int64).numpy()  # type: ignore[no-any-return]


class Targets(SegOnlyTransform):
    """nnU-Net's ``ConvertSegmentationToRegionsTransform`` and ``DownsampleSegForDSTransform``, either or both.

    Args:
        regions: nnU-Net's transform, or None for labels.
        scales: nnU-Net's transform, or None for one resolution.
    """

    def __init__(
        self, regions: ConvertSegmentationToRegionsTransform | None, scales: DownsampleSegForDSTransform | None
    ) -> None:
        super().__init__()
        self.regions, self.scales = regions, scales
        if regions is not None:
            labels = [int(label) for region in regions.regions for label in region.tolist()]
            self._lowest = min(labels)
            self._table = np.zeros((len(regions.regions), max(labels) - self._lowest + 1), bool)
            for row, region in zip(self._table, regions.regions, strict=True):
                row[[int(label) - self._lowest for label in region.tolist()]] = True

    @staticmethod
    def knows(regions: ConvertSegmentationToRegionsTransform) -> bool:
        """Whether every region is made of whole numbers near each other."""
        labels = [label for region in regions.regions for label in region.tolist()]
        return bool(labels) and all(label == int(label) and -256 <= label < 256 for label in labels)

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **params: Any) -> Any:
        if segmentation.dtype != torch.int16:
            return self._by_stock(segmentation)
        if self.regions is not None:
            segmentation = segmentation[self.regions.channel_in_seg][None]
        segmentation = segmentation.contiguous()
        if self.scales is None:
            return self._expanded(segmentation)
        shape = tuple(segmentation.shape[1:])
        results = []
        for scale in self.scales.ds_scales:
            scale = scale if isinstance(scale, list | tuple) else [scale] * len(shape)
            if all(factor == 1 for factor in scale):
                results.append(self._expanded(segmentation))
                continue
            coarse = [round(edge * factor) for edge, factor in zip(shape, scale, strict=True)]
            results.append(self._expanded(_picked(segmentation, coarse)))
        return results

    def _by_stock(self, segmentation: torch.Tensor) -> Any:
        for stock in (self.regions, self.scales):
            if stock is not None:
                segmentation = stock._apply_to_segmentation(segmentation)
        return segmentation

    def _expanded(self, labels: torch.Tensor) -> torch.Tensor:
        if self.regions is None:
            return labels
        out = torch.empty((len(self._table), *labels.shape[1:]), dtype=torch.bool)
        flat = out.view(len(self._table), math.prod(labels.shape[1:])).numpy()
        kernels.regions(_flat(labels), self._lowest, self._table, flat)
        return out


def _picked(labels: torch.Tensor, coarse: list[int]) -> torch.Tensor:
    """Labels at a lower resolution, the nearest of each place."""
    shape = tuple(labels.shape[1:])
    more = (1,) * (3 - len(shape))
    axes = [nearest_voxels(n, c) for n, c in zip(more + shape, (*more, *coarse), strict=True)]
    out = torch.empty((len(labels), *coarse), dtype=labels.dtype)
    for source, target in zip(labels, out, strict=True):
        kernels.pick(source.numpy().reshape(more + shape), *axes, target.numpy().reshape((*more, *coarse)))
    return out
