"""Loops compiled before the processes start that need them: once, and not in each."""

import copy
import dataclasses
import logging
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform

from nnunet_kits.augmentation.pipeline import Accelerated
from nnunet_kits.augmentation.set_steps import OneOf, Within

EDGE = 32
"""Of the patch that is augmented for it: small, and wide enough for every step."""

TIMES = 8
"""How often: some steps draw which of several things they do."""

CERTAIN = ("p_rotation", "p_scaling", "p_per_channel", "p_per_label")
"""Probabilities of nnU-Net's transforms that are made 1."""

logger = logging.getLogger(__name__)


def compile_loops(transforms: Any, dimensions: int) -> None:
    """Do to a small patch all that transforms can do, so that their loops are compiled.

    The random state is left as it was. What fails is compiled when it is needed.

    Args:
        transforms: as :func:`~nnunet_kits.augmentation.pipeline.accelerate` makes them; others have no loops.
        dimensions: of what they are given.
    """
    if isinstance(transforms, OneOf):
        for pipeline in transforms.pipelines:
            compile_loops(pipeline, dimensions)
    if not isinstance(transforms, Accelerated):
        return
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()
    np.random.seed(0)  # so that the same loops are compiled every time
    torch.manual_seed(0)
    eager = [_certain(step) for step in copy.deepcopy(transforms.transforms)]
    try:
        for _ in range(TIMES):
            labels = torch.zeros((2, *[EDGE] * dimensions), dtype=torch.int16)  # with those of a stage before
            labels[(slice(None), *[slice(EDGE // 4, -EDGE // 4)] * dimensions)] = 1
            given: dict[str, Any] = {"image": torch.rand((1, *[EDGE] * dimensions)), "segmentation": labels}
            for step in eager:
                given = step(**given)
    except Exception as error:  # of a transform that a small patch is too small for
        logger.info("loops are compiled by the processes that load: %s: %s", type(error).__name__, error)
    np.random.set_state(numpy_state)
    torch.set_rng_state(torch_state)


def _certain(step: BasicTransform) -> BasicTransform:
    """A step that is always done, and makes small patches."""
    if isinstance(step, RandomTransform):
        return _certain(step.transform)
    if isinstance(step, Within):
        return Within((1,), _certain(step.transform))
    stock = getattr(step, "stock", step)
    for name in CERTAIN:
        if hasattr(stock, name):
            setattr(stock, name, 1)
    if hasattr(stock, "patch_size"):
        stock.patch_size = (EDGE,) * len(stock.patch_size)
        if hasattr(stock, "steps"):
            stock.steps = {kind: dataclasses.replace(it, probability=1) for kind, it in stock.steps.items()}
        step = type(step)(stock)
    return step
