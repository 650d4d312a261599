"""nnU-Net's pipeline of transforms, with ours in place of those that we know."""

import functools
import logging
import os
from typing import Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.random import RandomTransform

from nnunet_kits.augmentation.set_steps import OneOf, Within

STOCK_VARIABLE = "NNUNET_KITS_STOCK_LOADING"
"""Environment variable that, set to anything but 0, leaves loading and augmentation to nnU-Net."""

logger = logging.getLogger(__name__)

CHEAP = (
    "GaussianNoiseTransform",
    "MultiplicativeBrightnessTransform",
    "MirrorTransform",
    "MaskImageTransform",
    "Convert3DTo2DTransform",
    "Convert2DTo3DTransform",
)
"""Transforms of nnU-Net's that stay: drawing noise, one pass in place or one copy is all they do."""


class Accelerated(ComposeTransforms):
    """A pipeline with ours in it.

    Args:
        transforms: its steps.

    Attributes:
        spatial: the spatial transform, if all that it needs to draw is the shape of its input and nothing draws before
            it; else None.
        planes: whether it takes the slices of a volume one by one.
    """

    def __init__(self, transforms: list[BasicTransform]) -> None:
        super().__init__(transforms)
        names = [type(transform).__name__ for transform in transforms[:2]]
        self.planes = names[:1] == ["Convert3DTo2DTransform"]
        first = transforms[self.planes] if len(transforms) > self.planes else None
        self.spatial: Any = first if getattr(first, "draws_from_the_shape", False) else None


def is_accelerated(transforms: Any) -> bool:
    """Whether :func:`accelerate` has made it."""
    return isinstance(transforms, Accelerated) or (
        isinstance(transforms, OneOf) and all(map(is_accelerated, transforms.pipelines))
    )


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning, once a process."""
    logger.warning(message)


def stock_is_asked_for() -> bool:
    """Whether ``STOCK_VARIABLE`` leaves loading and augmentation to nnU-Net."""
    return os.environ.get(STOCK_VARIABLE, "0") not in ("", "0")


def accelerate(transforms: BasicTransform) -> BasicTransform:
    """The same pipeline, several times cheaper.

    From the same random state it gives the same results: nnU-Net's transforms draw, ours do what they drew.

    Args:
        transforms: ``ComposeTransforms``, as nnU-Net's trainers make them, or :class:`OneOf` several; anything else
            comes back as it is.

    Returns:
        An :class:`Accelerated`, or one of several. What is not known to us stays nnU-Net's, and all of it where numba
        is missing; then a warning is logged, once a process. The same pipeline where ``STOCK_VARIABLE`` asks for it.
    """
    if stock_is_asked_for():
        return transforms
    if type(transforms) is OneOf:
        return OneOf([accelerate(pipeline) for pipeline in transforms.pipelines])
    if type(transforms) is not ComposeTransforms:
        warn_once(f"{type(transforms).__name__} is no pipeline known to us: nnU-Net's own transforms are used.")
        return transforms
    try:
        from nnunet_kits.augmentation import replacements
    except (ImportError, RuntimeError) as error:  # numba says the latter where it finds no folder for what it compiles
        warn_once(f"{error}: nnU-Net's own transforms are used, which are several times slower.")
        return transforms

    def replaced(transform: BasicTransform) -> BasicTransform:
        if type(transform) is RandomTransform:
            return RandomTransform(replaced(transform.transform), transform.apply_probability)
        if type(transform) is Within:
            return Within(transform.labels, replaced(transform.transform))
        ours = replacements.replacement(transform)
        if ours is None and type(transform).__module__.split(".")[0] != __package__.split(".")[0]:
            if type(transform).__name__ not in CHEAP:
                warn_once(
                    f"{type(transform).__name__}, or what it is told to do, is not known to us: it stays as it is."
                )
        return ours or transform

    return Accelerated(replacements.joined([replaced(transform) for transform in transforms.transforms]))
