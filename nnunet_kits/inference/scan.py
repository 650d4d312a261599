"""One scan on its way through models: its place on their grids, what they answer, and how long that took."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_kits.geometry import Box, nonzero_box
from nnunet_kits.inference.export import samples_for, segment
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.stage import Answer, image_block, label_block, run_network
from nnunet_kits.inference.tiling import Windows
from nnunet_kits.resampling.grid import ModelGrid, model_grid

Labels = Callable[[Box], NDArray[np.uint8]]
"""A label map, asked for in a box of the scan."""


@dataclass
class Prediction:
    """What was found in one scan.

    Attributes:
        labels: (z, y, x), uint8, in the scan's axis order.
        boxes: of the scan, where the last models ran.
        answers: these models' scores for each box; none from a system, which joins label maps.
        seconds: by phase.
        notes: what a user should know.
        agreement: of each fine model's folds or flips, where it was asked for, see
            :func:`nnunet_kits.inference.agreement.agreements`.
    """

    labels: NDArray[np.uint8]
    boxes: list[Box]
    answers: list[list[Answer]]
    seconds: dict[str, float]
    notes: list[str]
    agreement: list[dict[str, Any]] = field(default_factory=list)


class Clock:
    """Seconds spent by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Add the time that a ``with`` block takes to a phase."""
        start = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start


class Scan:
    """A scan that models look at.

    Args:
        image: (z, y, x), HU, in the axis order of the models' reader.
        spacing_zyx_mm: along the image's axes.
        progress: told how many windows were done.
        clock: to add the time of each phase to.

    Attributes:
        nonzero: the box that is not all 0, which nnU-Net keeps.
    """

    def __init__(
        self,
        image: NDArray[np.generic],
        spacing_zyx_mm: Sequence[float],
        progress: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self.image, self.progress, self.clock = image, progress, clock
        z, y, x = (float(edge) for edge in spacing_zyx_mm)
        self.spacing_mm = (z, y, x)
        with clock("crop"):
            self.nonzero = nonzero_box(image)

    def grid(self, model: Model) -> ModelGrid:
        """The scan on a model's grid."""
        plans, configuration = model.plans.plans, model.configuration.configuration
        return model_grid(plans, configuration, self.nonzero, self.image.shape, self.spacing_mm)

    def turned(self, grid: ModelGrid) -> NDArray[np.generic]:
        """The image in a model's axis order."""
        return self.image.transpose(grid.axes)

    def answer(
        self,
        model: Model,
        windows: Windows,
        box: Box,
        phase: str,
        coarse: Labels | None = None,
        members: bool = False,
    ) -> Answer:
        """What a model says about a box of the scan.

        Args:
            model: the model.
            windows: how its network is led over the box.
            box: of the scan.
            phase: a word for the clock.
            coarse: the label map that the second stage of a cascade reads.
            members: also the label maps of the model's folds, or of its flips.
        """
        grid, tiling = self.grid(model), model.tiling(windows)
        model_box = tiling.cover(grid.shape, samples_for(model, grid, box))
        with self.clock(f"{phase} preprocess"):
            block = image_block(model, self.turned(grid), grid, model_box)
            if model.is_cascaded:
                assert coarse is not None  # a cascade without is refused before it is asked

                def labels(turned_box: Box) -> NDArray[np.uint8]:
                    return coarse(grid.turn_back(turned_box)).transpose(grid.axes)

                block = torch.cat([block, label_block(model, labels, grid, model_box)])
        starts = tiling.starts(grid.shape, model_box)
        with self.clock(f"{phase} network"):
            answer = Answer(model, grid, model_box, torch.zeros(()), windows.average, [])

            def member(scores: torch.Tensor) -> None:
                maps.append(segment(model, scores, answer.threshold).cpu())

            maps: list[torch.Tensor] = []
            shown = member if members else None
            scores = run_network(model, block, tiling, starts, None, self.progress, windows.average, shown)
        return replace(answer, scores=scores, members=maps)
