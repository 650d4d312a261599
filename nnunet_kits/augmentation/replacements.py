"""Which transform of nnU-Net's gives way to which of ours. Imports numba."""

from collections.abc import Callable, Mapping
from typing import Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.nnunet.random_binary_operator import ApplyRandomBinaryOperatorTransform
from batchgeneratorsv2.transforms.nnunet.remove_connected_components import (
    RemoveRandomConnectedComponentFromOneHotEncodingTransform,
)
from batchgeneratorsv2.transforms.nnunet.seg_to_onehot import MoveSegAsOneHotToDataTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform

from nnunet_kits.augmentation.filters import LowResolution, SeparableBlur
from nnunet_kits.augmentation.intensity import Contrast, Gamma
from nnunet_kits.augmentation.masks import BinaryOperators, RemoveComponent
from nnunet_kits.augmentation.set_spatial import SetSpatial
from nnunet_kits.augmentation.spatial import FusedSet, FusedSpatial
from nnunet_kits.augmentation.targets import OneHot, RemoveLabel, Targets

REPLACEMENTS: Mapping[type[BasicTransform], Callable[[Any], BasicTransform]] = {
    SpatialTransform: FusedSpatial,
    SetSpatial: FusedSet,
    GaussianBlurTransform: SeparableBlur,
    SimulateLowResolutionTransform: LowResolution,
    ContrastTransform: Contrast,
    GammaTransform: Gamma,
    RemoveLabelTransform: RemoveLabel,
    MoveSegAsOneHotToDataTransform: OneHot,
    ApplyRandomBinaryOperatorTransform: BinaryOperators,
    RemoveRandomConnectedComponentFromOneHotEncodingTransform: RemoveComponent,
    ConvertSegmentationToRegionsTransform: lambda stock: Targets(stock, None),
    DownsampleSegForDSTransform: lambda stock: Targets(None, stock),
}
"""nnU-Net's transform -> what makes ours from it."""

KNOWN: Mapping[type[BasicTransform], Callable[[Any], bool]] = {
    SpatialTransform: FusedSpatial.knows,
    ApplyRandomBinaryOperatorTransform: BinaryOperators.knows,
    ConvertSegmentationToRegionsTransform: Targets.knows,
}
"""nnU-Net's transform -> whether ours does all that this one is told to do; those not named here always do."""


def replacement(stock: BasicTransform) -> BasicTransform | None:
    """Our transform in place of one of nnU-Net's, or None where we have none."""
    kind = type(stock)  # a subclass may do anything
    if kind not in REPLACEMENTS or (kind in KNOWN and not KNOWN[kind](stock)):
        return None
    return REPLACEMENTS[kind](stock)


def joined(transforms: list[BasicTransform]) -> list[BasicTransform]:
    """The transforms, regions and the lower resolutions that follow them at once made in one step."""
    made: list[BasicTransform] = []
    for transform in transforms:
        last = made[-1] if made else None
        if isinstance(last, Targets) and isinstance(transform, Targets) and last.scales is None:
            made[-1] = Targets(last.regions, transform.scales)
        else:
            made.append(transform)
    return made
