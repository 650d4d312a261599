"""Find the kidneys with a coarse model, then run the fine one only there.

Every voxel that the fine network sees has the value that nnU-Net's preprocessing of the whole scan would give it, and
every voxel that it labels is resampled as nnU-Net would; only what lies outside the boxes is never computed.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, crop, whole_box
from nnunet_kits.inference.agreement import agreements
from nnunet_kits.inference.export import labels_of, samples_for, segment
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.orientation import Turn
from nnunet_kits.inference.roi import RoiSettings, boxes_beyond, find_boxes, merge
from nnunet_kits.inference.scan import Clock, Prediction, Scan
from nnunet_kits.inference.stage import Answer, image_block, intensity, run_network
from nnunet_kits.inference.tiling import AXES, Average, Weighting, Windows

AIR_HU = -500.0
"""A window without anything denser is air: the coarse network is not asked about it."""


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        step: distance of neighbouring windows as a share of the window; nnU-Net's default is 0.5.
        mirror: average over flips (test-time augmentation).
        roi: how boxes are made around what the coarse model found.
        whole_if_empty: where the coarse model found nothing, run the fine one on the whole scan.
        whole_volume: run the fine models on the whole scan, whatever the coarse one found: nnU-Net's own result.
        mirror_axes: over which flips, where they are averaged over; None for those that training mirrored.
        weighting: of a window's voxels; nnU-Net's is ``gaussian``.
        average: what is averaged over flips, windows and folds; nnU-Net's are ``logits``.
        agreement: also compare the label maps of each fine model's folds, or of its flips where it has one fold.
    """

    step: float = 0.5
    mirror: bool = True
    roi: RoiSettings = field(default_factory=RoiSettings)
    whole_if_empty: bool = False
    whole_volume: bool = False
    mirror_axes: tuple[str, ...] | None = None
    weighting: Weighting = "gaussian"
    average: Average = "logits"
    agreement: bool = False

    def __post_init__(self) -> None:
        _ = self.windows  # checks what it is made of
        if self.roi.margin_mm < 0:
            raise InferenceError(f"margin {self.roi.margin_mm} mm: must not be negative.")

    @property
    def windows(self) -> Windows:
        """How every network is led over a volume."""
        mirrored = self.mirror_axes if self.mirror else ()
        step = (self.step, self.step, self.step)
        return Windows(step, weighting=self.weighting, mirror_axes=mirrored, average=self.average)

    def as_json(self) -> dict[str, Any]:
        """As it stands in a record: what is nnU-Net's own way is left out of the later three, comparisons always."""
        plain = {"mirror_axes": None, "weighting": "gaussian", "average": "logits", "agreement": self.agreement}
        return {key: value for key, value in asdict(self).items() if key not in plain or value != plain[key]}


@torch.inference_mode()
def predict_array(
    image: NDArray[np.generic],
    spacing_zyx_mm: Sequence[float],
    fine: Sequence[Model],
    coarse: Model | None = None,
    settings: Settings | None = None,
    progress: Callable[[int], None] = lambda _: None,
    clock: Clock | None = None,
    view: Turn = Turn(),  # noqa: B008 (it is frozen)
    kidneys: Sequence[int] | None = None,
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
        view: from the image to what the coarse model is shown.
        kidneys: values in the coarse label map around which to look; None for all but 0.

    Raises:
        InferenceError: a cascade without a coarse model, or models that do not fit together.
    """
    settings = settings or Settings()
    clock = clock or Clock()
    check_models(fine, coarse)
    search = _Search(Scan(image, spacing_zyx_mm, progress, clock), settings, view, kidneys)
    if coarse is None:
        boxes: list[Box] = [search.scan.nonzero]
        notes: list[str] = []
        coarse_answer: Answer | None = None
    else:
        boxes, notes, coarse_answer = search.locate(coarse, fine[0])
    labels = np.zeros(image.shape, np.uint8)
    found, kept = [], []
    queue = deque((box, 0) for box in boxes)
    while queue:
        box, turn = queue.popleft()
        answers, part = search.look_closely(fine, box, coarse_answer)
        np.copyto(crop(labels, box), part, where=part > 0)
        found.append(box)
        kept.append(answers)
        beyond = search.beyond(fine[0], part > 0, box, [*found, *(other for other, _ in queue)])
        if turn < settings.roi.growths:
            queue.extend((other, turn + 1) for other in beyond)
        elif beyond:
            place = ", ".join(f"{axis} {start} to {stop - 1}" for axis, (start, stop) in zip(AXES, box, strict=True))
            notes.append(f"a result touches the side of its box ({place}), the last of {turn} beside each other")
    prediction = Prediction(labels, found, kept, clock.seconds, notes)
    if settings.agreement:
        with clock("agreement"):
            prediction.agreement = agreements(found, kept, settings.windows)
    return prediction


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
    views = {f"{model.reader}{f' of {model.orientation}' if model.orientation else ''}" for model in fine}
    if len(views) > 1:
        raise InferenceError(
            f"{fine[0].folder.name}: the models read images with different readers ({', '.join(sorted(views))}), so "
            "their axes may differ. Average models of one dataset."
        )


class _Search:
    """Kidneys are looked for in one scan."""

    def __init__(self, scan: Scan, settings: Settings, view: Turn, kidneys: Sequence[int] | None) -> None:
        self.scan, self.settings, self.clock = scan, settings, scan.clock
        self.view, self.kidneys, self.shape = view, kidneys, scan.image.shape
        self.coarse_scan = scan
        if not view.is_none:
            self.coarse_scan = Scan(view(scan.image), view.along(scan.spacing_mm), scan.progress, scan.clock)

    def locate(self, coarse: Model, fine: Model) -> tuple[list[Box], list[str], Answer]:
        """Boxes of the scan to look at closely, what to tell the user, and the coarse model's answer."""
        grid = self.coarse_scan.grid(coarse)
        box = whole_box(grid.shape)
        with self.clock("coarse preprocess"):
            block = image_block(coarse, self.coarse_scan.turned(grid), grid, box)
        tiling = coarse.tiling(self.settings.windows)
        starts = tiling.starts(grid.shape)
        with self.clock("coarse network"):
            wanted, average = _wanted(coarse, self.settings), self.settings.average
            scores = run_network(coarse, block, tiling, starts, wanted, self.scan.progress, average)
        answer = Answer(coarse, grid, box, scores, average)
        if self.settings.whole_volume:
            return [self.scan.nonzero], [], answer

        def to_scan(model_box: Box) -> Box:
            return self.view.box_back(grid.turn_back(grid.scan_box_of(model_box)), self.shape)

        def cost(model_box: Box) -> float:
            return self._windows(fine, to_scan(model_box))

        with self.clock("locate"):
            found = segment(coarse, scores, answer.threshold)
            mask = found > 0 if self.kidneys is None else torch.isin(found, found.new_tensor(self.kidneys))
            boxes = find_boxes(mask.cpu().numpy(), grid.voxel_mm, self.settings.roi, cost)
        if boxes:
            return [to_scan(box) for box in boxes], [], answer
        note = "the coarse model found no kidney"
        if self.settings.whole_if_empty:
            return [self.scan.nonzero], [f"{note}: the fine one looked at the whole scan"], answer
        return [], [f"{note}: the label map is empty"], answer

    def look_closely(
        self, fine: Sequence[Model], box: Box, coarse: Answer | None
    ) -> tuple[list[Answer], NDArray[np.uint8]]:
        """Run the fine models on a box: their answers around it, and the labels in it."""

        def coarse_labels(part: Box) -> NDArray[np.uint8]:
            assert coarse is not None  # check_models refuses a cascade without
            return self.view.back(labels_of([coarse], self.view.box(part, self.shape)))

        settings = self.settings
        answers = [
            self.scan.answer(model, settings.windows, box, "fine", coarse_labels, settings.agreement) for model in fine
        ]
        with self.clock("fine export"):
            return answers, labels_of(answers, box)

    def beyond(self, fine: Model, mask: NDArray[np.bool_], box: Box, looked_at: Sequence[Box]) -> list[Box]:
        """Boxes to look at besides, where the fine result goes on beyond its own."""
        with self.clock("locate"):
            boxes = boxes_beyond(mask, box, self.scan.nonzero, self.scan.spacing_mm, self.settings.roi, looked_at)
            return merge(boxes, lambda other: self._windows(fine, other)) if boxes else []

    def _windows(self, fine: Model, box: Box) -> int:
        """How often the fine network would run over a box of the scan."""
        grid, tiling = self.scan.grid(fine), fine.tiling(self.settings.windows)
        return len(tiling.starts(grid.shape, tiling.cover(grid.shape, samples_for(fine, grid, box))))


def _wanted(model: Model, settings: Settings) -> Callable[[Tensor], bool] | None:
    """Whether a normalised window holds more than air; None for all windows."""
    normalised = intensity(model)
    if settings.whole_volume or np.isneginf(normalised.lowest):
        return None
    threshold = normalised.of(max(AIR_HU, normalised.lowest + 1.0))
    return lambda window: bool((window[0] > threshold).any())
