"""A set of augmentations as a pipeline of transforms: its steps, and then what nnU-Net's own pipeline ends with."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTransform

from nnunet_kits.augmentation.set_spatial import SetSpatial
from nnunet_kits.augmentation.set_steps import BrightnessAndContrast, Clip, OneOf, RootOfRange, Within
from nnunet_kits.augmentation.sets import SPATIAL, AugmentationSet, Step, labels_named

ENDING = (MirrorTransform, MaskImageTransform, RemoveLabelTransform)
"""The first of these in nnU-Net's pipeline, and all that follows, is kept."""

MAKERS: Mapping[str, Callable[[Mapping[str, Any]], BasicTransform]] = {
    "brightness": lambda given: MultiplicativeBrightnessTransform(tuple(given["factor"]), synchronize_channels=False),
    "contrast": lambda given: ContrastTransform(
        tuple(given["factor"]), given.get("keep_range", False), synchronize_channels=False
    ),
    "gamma": lambda given: GammaTransform(tuple(given["exponent"]), 0, False, 1, given.get("keep_statistics", False)),
    "brightness_and_contrast": lambda given: BrightnessAndContrast(**given),
    "noise": lambda given: GaussianNoiseTransform(
        RootOfRange(given["variance"]) if "variance" in given else tuple(given["sd"]), synchronize_channels=True
    ),
    "clip": lambda given: Clip(*given["range"]),
}
"""Kind that changes intensities -> its transform."""


def pipeline(
    chosen: AugmentationSet,
    patch_size: Sequence[int],
    stock: ComposeTransforms,
    labels: Mapping[str, Any],
    unit_hu: float = 1.0,
) -> BasicTransform:
    """The transforms of a set.

    Args:
        chosen: the set.
        patch_size: ([z,] y, x) of what comes out.
        stock: nnU-Net's training pipeline, of which the end is kept: mirroring, and what makes targets of labels.
        labels: ``labels`` of dataset.json.
        unit_hu: HU that are 1 for the network.

    Returns:
        ``ComposeTransforms``, or :class:`OneOf` several.
    """
    first = next(number for number, step in enumerate(stock.transforms) if isinstance(step, ENDING))
    made = []
    for steps in chosen.alternatives.values():
        intensities = [_intensity(step, labels, unit_hu) for step in steps if step.kind not in SPATIAL]
        ending = deepcopy(stock.transforms[first:])
        made.append(ComposeTransforms([SetSpatial(patch_size, steps), *filter(None, intensities), *ending]))
    return made[0] if len(made) == 1 else OneOf(made)


def _intensity(step: Step, labels: Mapping[str, Any], unit_hu: float) -> BasicTransform | None:
    """A step that changes intensities; None where it is about labels that the dataset does not have."""
    given = dict(step.given)
    if given.pop("in_hu", False):
        powers = {"sd": 1, "variance": 2}
        given = {key: [bound / unit_hu ** powers[key] for bound in value] for key, value in given.items()}
    made = MAKERS[step.kind](given)
    if "labels" in step.given:
        found = labels_named(step.given["labels"], labels)
        if not found:
            return None
        made = Within(found, made)
    return made if step.probability == 1 else RandomTransform(made, step.probability)


def size_with_margin(chosen: AugmentationSet, patch_size: Sequence[int]) -> list[int]:
    """The patch with all that a set may read it from, the widest of its alternatives."""
    sizes = [SetSpatial(patch_size, steps).size_with_margin() for steps in chosen.alternatives.values()]
    return [max(edges) for edges in zip(*sizes, strict=True)]
