"""The members of a model: its folds, or the mirrored copies of its only one; and how far their label maps agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, crop
from nnunet_kits.inference.export import samples_for
from nnunet_kits.inference.label_names import written
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.stage import Answer
from nnunet_kits.inference.tiling import AXES, Windows
from nnunet_kits.labels import REGION_LABEL
from nnunet_kits.measurement.agreement import Tally


def members_of(model: Model, windows: Windows) -> list[str]:
    """What a model's members are called.

    Raises:
        InferenceError: it has but one.
    """
    if len(model.weights) > 1:
        return [f"fold {fold}" for fold in model.fold_names] or [f"fold {n + 1}" for n in range(len(model.weights))]
    flips = model.tiling(windows).flips()
    if len(flips) == 1:
        raise InferenceError(
            f"{model.folder}: has one fold and is not mirrored, so there is nothing to compare. Leave --agreement out, "
            "or predict with more folds or with mirroring."
        )
    return [f"mirrored {''.join(AXES[axis] for axis in axes)}" if axes else "as it is" for axes in flips]


def agreements(boxes: Sequence[Box], answers: Sequence[Sequence[Answer]], windows: Windows) -> list[dict[str, Any]]:
    """How far the members of each model agree, on the model's own grid, in the boxes that it looked at.

    Args:
        boxes: of the scan.
        answers: of each model for each box, with the label maps of its members.
        windows: how the models were led over the boxes.
    """
    return [_agreement(boxes, found, windows) for found in zip(*answers, strict=True)]


def _agreement(boxes: Sequence[Box], answers: Sequence[Answer], windows: Windows) -> dict[str, Any]:
    model, grid = answers[0].model, answers[0].grid
    named = written(model.dataset_json).items()
    names = {REGION_LABEL[name].name.lower() if name in REGION_LABEL else name: value for name, value in named}
    tally = Tally(members_of(model, windows), names, float(np.prod(grid.voxel_mm)) / 1000)
    counted = np.zeros(grid.shape, np.bool_) if len(boxes) > 1 else None
    for box, answer in zip(boxes, answers, strict=True):
        part = samples_for(model, grid, box)
        z, y, x = ((a - at, b - at) for (a, b), (at, _) in zip(part, answer.box, strict=True))
        maps = [crop(member.numpy(), (z, y, x)) for member in answer.members]
        done = None if counted is None else crop(counted, part)
        tally.add(maps, done)
        if done is not None:
            done[...] = True
    of = "folds" if len(model.weights) > 1 else "mirrored copies"
    return {"model": model.folder.name, "of": of, **tally.as_json()}
