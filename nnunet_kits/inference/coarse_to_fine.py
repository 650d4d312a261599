"""Find the kidneys with a coarse model, then run the fine one only there.

Every voxel that the fine network sees has the value that nnU-Net's preprocessing of the whole scan would give it, and
every voxel that it labels is resampled as nnU-Net would; only what lies outside the boxes is never computed.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, crop, nonzero_box, whole_box
from nnunet_kits.inference.export import labels_of, samples_for, segment
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.roi import RoiSettings, boxes_beyond, find_boxes, merge
from nnunet_kits.inference.stage import Answer, image_block, intensity, label_block, run_network
from nnunet_kits.resampling.grid import ModelGrid, model_grid

AIR_HU = -500.0
"""A window without anything denser is air: the coarse network is not asked about it."""


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        step: distance of neighbouring windows as a share of the window; nnU-Net's default is 0.5.
        mirror: average over the flips that training mirrored (test-time augmentation).
        roi: how boxes are made around what the coarse model found.
        whole_if_empty: where the coarse model found nothing, run the fine one on the whole scan.
        whole_volume: run the fine models on the whole scan, whatever the coarse one found: nnU-Net's own result.
    """

    step: float = 0.5
    mirror: bool = True
    roi: RoiSettings = field(default_factory=RoiSettings)
    whole_if_empty: bool = False
    whole_volume: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise InferenceError(f"step {self.step}: is a share of the window, above 0 and at most 1.")
        if self.roi.margin_mm < 0:
            raise InferenceError(f"margin {self.roi.margin_mm} mm: must not be negative.")


@dataclass
class Prediction:
    """What was found in one scan.

    Attributes:
        labels: (z, y, x), uint8, in the scan's axis order.
        boxes: of the scan, where the fine models ran.
        answers: the fine models' logits for each box.
        seconds: by phase.
        notes: what a user should know.
    """

    labels: NDArray[np.uint8]
    boxes: list[Box]
    answers: list[list[Answer]]
    seconds: dict[str, float]
    notes: list[str]


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


@torch.inference_mode()
def predict_array(
    image: NDArray[np.generic],
    spacing_zyx_mm: Sequence[float],
    fine: Sequence[Model],
    coarse: Model | None = None,
    settings: Settings | None = None,
    progress: Callable[[int], None] = lambda _: None,
    clock: Clock | None = None,
) -> Prediction:
    """Segment one scan.

    Args:
        image: (z, y, x), HU, in the axis order of the models' reader.
        spacing_zyx_mm: along the image's axes.
        fine: one model, or several whose probabilities are averaged; all with the same labels.
        coarse: finds the kidneys, and is the previous stage of cascades; None to run ``fine`` on the whole scan.
        settings: windows, flips, boxes.
        progress: told how many windows were done.
        clock: to add the time of each phase to.

    Raises:
        InferenceError: a cascade without a coarse model, or models that do not fit together.
    """
    settings = settings or Settings()
    clock = clock or Clock()
    check_models(fine, coarse)
    scan = _Scan(image, spacing_zyx_mm, settings, progress, clock)
    if coarse is None:
        boxes: list[Box] = [scan.nonzero]
        notes: list[str] = []
        coarse_answer: Answer | None = None
    else:
        boxes, notes, coarse_answer = scan.locate(coarse, fine[0])
    labels = np.zeros(image.shape, np.uint8)
    found, kept = [], []
    queue = deque((box, 0) for box in boxes)
    while queue:
        box, turn = queue.popleft()
        answers, part = scan.look_closely(fine, box, coarse_answer)
        np.copyto(crop(labels, box), part, where=part > 0)
        found.append(box)
        kept.append(answers)
        beyond = scan.beyond(fine[0], part > 0, box, [*found, *(other for other, _ in queue)])
        if turn < settings.roi.growths:
            queue.extend((other, turn + 1) for other in beyond)
        elif beyond:
            notes.append(f"a result touches the side of its box {box}, the last of {turn} beside each other")
    return Prediction(labels, found, kept, clock.seconds, notes)


def check_models(fine: Sequence[Model], coarse: Model | None) -> None:
    """Refuse models that cannot work together.

    Raises:
        InferenceError: what does not fit, and what to do.
    """
    for model in fine:
        if model.is_cascaded and coarse is None:
            raise InferenceError(
                f"{model.folder.name}: is the second stage of a cascade and needs its first. Name it with --coarse."
            )
        if model.dataset_json["labels"] != fine[0].dataset_json["labels"]:
            raise InferenceError(
                f"{model.folder} and {fine[0].folder} have different labels ({model.dataset_json['labels']} and "
                f"{fine[0].dataset_json['labels']}), so they cannot be averaged."
            )
    readers = {str(model.plans.plans["image_reader_writer"]) for model in [*fine, *([coarse] if coarse else [])]}
    if len(readers) > 1:
        raise InferenceError(
            f"{fine[0].folder.name}: the models read images with different readers ({', '.join(sorted(readers))}), so "
            "their axes may differ. Use models of one dataset."
        )


class _Scan:
    """One scan on its way through the models."""

    def __init__(
        self,
        image: NDArray[np.generic],
        spacing_zyx_mm: Sequence[float],
        settings: Settings,
        progress: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self.image, self.settings, self.progress, self.clock = image, settings, progress, clock
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

    def locate(self, coarse: Model, fine: Model) -> tuple[list[Box], list[str], Answer]:
        """Boxes of the scan to look at closely, what to tell the user, and the coarse model's answer."""
        grid = self.grid(coarse)
        box = whole_box(grid.shape)
        with self.clock("coarse preprocess"):
            block = image_block(coarse, self.turned(grid), grid, box)
        tiling = coarse.tiling(self.settings.step, self.settings.mirror)
        starts = tiling.starts(grid.shape)
        with self.clock("coarse network"):
            logits = run_network(coarse, block, tiling, starts, _wanted(coarse, self.settings), self.progress)
        answer = Answer(coarse, grid, box, logits)
        if self.settings.whole_volume:
            return [self.nonzero], [], answer

        def to_scan(model_box: Box) -> Box:
            return grid.turn_back(grid.scan_box_of(model_box))

        def cost(model_box: Box) -> float:
            return self._windows(fine, to_scan(model_box))

        with self.clock("locate"):
            mask = (segment(coarse, logits) > 0).cpu().numpy()
            boxes = find_boxes(mask, grid.voxel_mm, self.settings.roi, cost)
        if boxes:
            return [to_scan(found) for found in boxes], [], answer
        note = "the coarse model found no kidney"
        if self.settings.whole_if_empty:
            return [self.nonzero], [f"{note}: the fine one looked at the whole scan"], answer
        return [], [f"{note}: the label map is empty"], answer

    def look_closely(
        self, fine: Sequence[Model], box: Box, coarse: Answer | None
    ) -> tuple[list[Answer], NDArray[np.uint8]]:
        """Run the fine models on a box: their answers around it, and the labels in it."""
        answers = [self._answer(model, box, coarse) for model in fine]
        with self.clock("fine export"):
            return answers, labels_of(answers, box)

    def beyond(self, fine: Model, mask: NDArray[np.bool_], box: Box, looked_at: Sequence[Box]) -> list[Box]:
        """Boxes to look at besides, where the fine result goes on beyond its own."""
        with self.clock("locate"):
            boxes = boxes_beyond(mask, box, self.nonzero, self.spacing_mm, self.settings.roi, looked_at)
            return merge(boxes, lambda other: self._windows(fine, other)) if boxes else []

    def _windows(self, fine: Model, box: Box) -> int:
        """How often the fine network would run over a box of the scan."""
        grid, tiling = self.grid(fine), fine.tiling(self.settings.step, False)
        return len(tiling.starts(grid.shape, tiling.cover(grid.shape, samples_for(fine, grid, box))))

    def _answer(self, model: Model, box: Box, coarse: Answer | None) -> Answer:
        """The logits of one fine model over a box of the scan."""
        grid = self.grid(model)
        tiling = model.tiling(self.settings.step, self.settings.mirror)
        model_box = tiling.cover(grid.shape, samples_for(model, grid, box))
        with self.clock("fine preprocess"):
            block = image_block(model, self.turned(grid), grid, model_box)
            if model.is_cascaded:
                assert coarse is not None  # check_models refuses a cascade without

                def coarse_labels(turned_box: Box) -> NDArray[np.uint8]:
                    return labels_of([coarse], grid.turn_back(turned_box)).transpose(grid.axes)

                block = torch.cat([block, label_block(model, coarse_labels, grid, model_box)])
        starts = tiling.starts(grid.shape, model_box)
        with self.clock("fine network"):
            logits = run_network(model, block, tiling, starts, None, self.progress)
        return Answer(model, grid, model_box, logits)


def _wanted(model: Model, settings: Settings) -> Callable[[Tensor], bool] | None:
    """Whether a normalised window holds more than air; None for all windows."""
    normalised = intensity(model)
    if settings.whole_volume or np.isneginf(normalised.lowest):
        return None
    threshold = normalised.of(max(AIR_HU, normalised.lowest + 1.0))
    return lambda window: bool((window[0] > threshold).any())
