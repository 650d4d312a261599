"""A scan on its way through the stages of a system."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_kits.errors import InferenceError
from nnunet_kits.geometry import Box, crop, whole_box
from nnunet_kits.inference.export import labels_of
from nnunet_kits.inference.joining import check_labels, inside, translation
from nnunet_kits.inference.label_names import written
from nnunet_kits.inference.model import Model
from nnunet_kits.inference.scan import Clock, Prediction, Scan
from nnunet_kits.inference.stage import intensity
from nnunet_kits.inference.system import Member, Stage, System
from nnunet_kits.postprocessing.pipeline import apply_chain, load_chain
from nnunet_kits.postprocessing.voxel import Voxel
from nnunet_kits.preparation import Placement, prepare, restore

LabelMap = NDArray[np.uint8]
Models = Mapping[Member, Sequence[Model]]
"""The models of each member; the probabilities of several are averaged."""


@torch.inference_mode()
def predict_with_system(
    image: NDArray[np.generic],
    spacing_zyx_mm: Sequence[float],
    system: System,
    models: Models,
    whole_if_empty: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    clock: Clock | None = None,
) -> Prediction:
    """Segment one scan by a system.

    Args:
        image: (z, y, x), HU, in the axis order of the models' reader.
        spacing_zyx_mm: along the image's axes.
        system: the stages.
        models: of every member.
        whole_if_empty: where a stage found nothing to crop to, go on with the whole scan.
        progress: told how many windows were done.
        clock: to add the time of each phase to.

    Raises:
        InferenceError: models that do not fit the system or each other.
    """
    clock = clock or Clock()
    check_members(system, models)
    found: dict[str, LabelMap] = {}
    notes: list[str] = []
    box, labels = whole_box(image.shape), np.zeros(image.shape, np.uint8)
    for stage in system.stages:
        mask = None if stage.of is None else found[stage.of]
        if mask is not None and not mask.any():
            note = f"the stage {stage.of} found nothing"
            if not whole_if_empty:
                notes.append(f"{note}: the label map is empty")
                return Prediction(np.zeros(image.shape, np.uint8), [], [], clock.seconds, notes)
            notes.append(f"{note}: the stage {stage.name} looked at the whole scan")
            mask = np.ones(image.shape, np.uint8)
        step = _Step(stage, dict(system.labels), models, found, progress, clock)
        box, labels = step.run(image, spacing_zyx_mm, mask)
        found[stage.name] = labels
    if system.postprocessing is not None:
        z, y, x = spacing_zyx_mm
        with clock("postprocessing"):
            labels, _ = apply_chain(labels, Voxel((float(z), float(y), float(x))), load_chain(system.postprocessing))
    return Prediction(labels, [box], [], clock.seconds, notes)


def check_members(system: System, models: Models) -> None:
    """Refuse models that do not fit their places in a system, or each other.

    Raises:
        InferenceError: what does not fit, and what to do.
    """
    labels = dict(system.labels)
    for stage in system.stages:
        beside = [model for member in stage.members for model in models[member]]
        for member in stage.members:
            for model in models[member]:
                check_labels(model, member.labels, labels, f"{system.name}, stage {stage.name}, model {member.key}")
                if model.is_cascaded:
                    _check_cascade(model, stage, system)
                model.tiling(stage.windows)
                intensity(model)
            averaged = beside if stage.join.rule == "average" else models[member]
            for model in averaged:
                if model.dataset_json["labels"] != averaged[0].dataset_json["labels"]:
                    raise InferenceError(
                        f"{model.folder} and {averaged[0].folder} have different labels, so they cannot be averaged "
                        f"in the stage {stage.name} of {system.name}."
                    )
    every = [model for member in system.members for model in models[member]]
    for kind, name in (("readers", "image_reader_writer"), ("file endings", "file_ending")):
        found = {str(model.plans.plans.get(name, model.dataset_json.get(name))) for model in every}
        if len(found) > 1:
            raise InferenceError(
                f"{system.name}: the models read images with different {kind} ({', '.join(sorted(found))}). Use models "
                "of datasets that were made alike."
            )


def _check_cascade(model: Model, stage: Stage, system: System) -> None:
    """Refuse the second stage of a cascade where it has nothing to read, or would read it otherwise."""
    if stage.reads is None:
        raise InferenceError(
            f"{model.folder.name}: is the second stage of a cascade, but the stage {stage.name} of {system.name} reads "
            "no other. Name a model of one stage, or a system with reads."
        )
    values = list(map(int, model.labels.foreground_labels))
    if translation(model, dict(system.labels))[values].tolist() != values:
        raise InferenceError(
            f"{model.folder.name}: is the second stage of a cascade and has other values for its labels "
            f"({written(model.dataset_json)}) than {system.name} ({dict(system.labels)}), whose label map it would "
            "read."
        )


class _Step:
    """One stage at work on one scan."""

    def __init__(
        self,
        stage: Stage,
        labels: Mapping[str, int],
        models: Models,
        found: Mapping[str, LabelMap],
        progress: Callable[[int], None],
        clock: Clock,
    ) -> None:
        self.stage, self.labels, self.models, self.found = stage, labels, models, found
        self.progress, self.clock = progress, clock

    def run(
        self, image: NDArray[np.generic], spacing_zyx_mm: Sequence[float], mask: LabelMap | None
    ) -> tuple[Box, LabelMap]:
        """The box of the scan that was looked at, and the label map of the whole scan."""
        stage = self.stage
        with self.clock(f"{stage.name} prepare"):
            made = prepare(image, spacing_zyx_mm, stage.prepare, mask)
        placement, scan = made.placement, Scan(made.array, made.spacing_zyx_mm, self.progress, self.clock)
        if stage.join.rule == "average":
            joined = self._look(scan, placement, stage.members, stage.name)
        else:
            maps = {member.key: self._look(scan, placement, [member], member.key) for member in stage.members}
            with self.clock(f"{stage.name} join"):
                by, what = str(stage.join.mask), str(stage.join.labels)
                within = maps[by] if by in maps else crop(self.found[by], placement.box)
                joined = inside(within, maps[what])
        labels = np.zeros(image.shape, np.uint8)
        np.copyto(crop(labels, placement.box), joined)
        return placement.box, labels

    def _look(self, scan: Scan, placement: Placement, members: Sequence[Member], phase: str) -> LabelMap:
        """The label map of some members, averaged, in the box of the scan that they were shown."""

        def coarse(box: Box) -> LabelMap:
            return crop(previous, box)

        previous = np.zeros(0, np.uint8)
        if self.stage.reads is not None:
            previous = placement.labels(self.found[self.stage.reads])
        models = [model for member in members for model in self.models[member]]
        answers = [scan.answer(model, self.stage.windows, scan.nonzero, phase, coarse) for model in models]
        with self.clock(f"{phase} export"):
            prepared = np.zeros(placement.shape, np.uint8)
            np.copyto(crop(prepared, scan.nonzero), labels_of(answers, scan.nonzero))
            prepared = translation(models[0], self.labels)[prepared]
            return crop(restore(prepared, placement), placement.box)
