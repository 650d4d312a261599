"""What is to be predicted with what, and the models of that in memory: coarse to fine, or a system of several."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nnunet_kits import __version__
from nnunet_kits.errors import InferenceError
from nnunet_kits.inference.agreement import members_of
from nnunet_kits.inference.backends import Backend
from nnunet_kits.inference.chosen import Chosen, ChosenModels
from nnunet_kits.inference.coarse_to_fine import Settings, check_models, predict_array
from nnunet_kits.inference.memory import ROI_SHARE, bytes_needed, bytes_of_members, bytes_of_system
from nnunet_kits.inference.model import Model, load_model
from nnunet_kits.inference.orientation import Axes, Turn, coarse_turn, fine_axes, turn_between
from nnunet_kits.inference.scan import Clock, Prediction
from nnunet_kits.inference.stages import Models, check_members, predict_with_system
from nnunet_kits.inference.suitability import check_channels, kidney_values
from nnunet_kits.inference.system import System
from nnunet_kits.model_folder import FINAL
from nnunet_kits.postprocessing.pipeline import apply_chain, load_chain
from nnunet_kits.postprocessing.voxel import Voxel
from nnunet_kits.training.devices import check_device

Progress = Callable[[int], None]

_LATER = ("coarse_labels", "checkpoints", "orientations", "postprocessing")
"""Fields that stand in a record only where they say something."""


@dataclass(frozen=True)
class Job:
    """What is to be predicted with what, coarse to fine.

    Attributes:
        fine: model folders; their probabilities are averaged.
        coarse: model folder of the coarse stage, or None.
        folds: of every model; None for all that are trained.
        checkpoint: file name in the folds.
        device: ``cpu``, ``cuda`` or ``mps``.
        settings: windows, flips, boxes.
        save_probabilities: write nnU-Net's .npz and .pkl too.
        trust: run the code that the models' files ask for.
        coarse_labels: labels of the coarse model that are the kidneys; none for all.
        checkpoints: model folder and file, of the models that have a checkpoint of their own.
        orientations: model folder and axes, of the models that were trained on turned scans.
        postprocessing: a chain that is done to every label map, or None.
        backend: what runs the networks: ``torch``, or ``openvino`` on the CPU.
    """

    fine: tuple[str, ...]
    coarse: str | None = None
    folds: tuple[str, ...] | None = None
    checkpoint: str = FINAL
    device: str = "cpu"
    settings: Settings = field(default_factory=Settings)
    save_probabilities: bool = False
    trust: bool = False
    coarse_labels: tuple[str, ...] = ()
    checkpoints: tuple[tuple[str, str], ...] = ()
    orientations: tuple[tuple[str, str], ...] = ()
    postprocessing: str | None = None
    backend: Backend = "torch"

    @classmethod
    def of(cls, models: ChosenModels, **options: Any) -> "Job":
        """A job of chosen models, with what is known of each; ``options`` are this class's own."""
        known = models.by_folder.items()
        return cls(
            fine=tuple(str(one.folder.resolve()) for one in models.fine),
            coarse=str(models.coarse.folder.resolve()) if models.coarse else None,
            coarse_labels=models.coarse_labels,
            checkpoints=tuple((str(folder), one.checkpoint) for folder, one in known if one.checkpoint),
            orientations=tuple((str(folder), one.orientation) for folder, one in known if one.orientation),
            **{"postprocessing": models.postprocessing, **options},
        )

    @property
    def folders(self) -> list[Path]:
        """Of all models."""
        return [Path(folder) for folder in (*self.fine, *([self.coarse] if self.coarse else []))]

    def made_with(self) -> dict[str, Any]:
        """What decides over the label maps, as it stands in a record."""
        made = {"version": __version__, **asdict(self), "settings": self.settings.as_json()}
        for key in ("device", "backend", "trust"):
            made.pop(key)
        for key in _LATER:
            if not made[key]:
                made.pop(key)
        return dict(json.loads(json.dumps(made)))


@dataclass(frozen=True)
class SystemJob:
    """What is to be predicted with which system.

    Attributes:
        system: stages, windows, rules.
        models: each key with its model folders.
        folds: of every model, whatever the system says; None for what it says.
        checkpoint: file name in the folds.
        device: ``cpu``, ``cuda`` or ``mps``.
        whole_if_empty: where a stage found nothing to crop to, go on with the whole scan.
        checkpoints: model folder and file, of the models that have a checkpoint of their own.
        trust: run the code that the models' files ask for.
        backend: what runs the networks: ``torch``, or ``openvino`` on the CPU.
    """

    system: System
    models: tuple[tuple[str, tuple[str, ...]], ...]
    folds: tuple[str, ...] | None = None
    checkpoint: str = FINAL
    device: str = "cpu"
    whole_if_empty: bool = False
    checkpoints: tuple[tuple[str, str], ...] = ()
    trust: bool = False
    backend: Backend = "torch"
    save_probabilities: bool = field(default=False, init=False)

    @classmethod
    def of(cls, system: System, members: Mapping[str, Sequence[Chosen]], **options: Any) -> "SystemJob":
        """A job of chosen models in the places of a system; ``options`` are this class's own.

        Raises:
            InferenceError: a place without model, or a model without place.
        """
        known = {str(one.folder.resolve()): one for found in members.values() for one in found}
        return cls(
            system=system,
            models=tuple((key, tuple(str(one.folder.resolve()) for one in found)) for key, found in members.items()),
            checkpoints=tuple((folder, one.checkpoint) for folder, one in known.items() if one.checkpoint),
            **options,
        )

    def __post_init__(self) -> None:
        given = [key for key, _ in self.models]
        keys = ", ".join(self.system.keys)
        for key in self.system.keys:
            if key not in given:
                raise InferenceError(
                    f"{self.system.name}: no model for {key}. The system has {keys}; name each with --model KEY=FOLDER."
                )
        unknown = [key for key in given if key not in self.system.keys]
        if unknown:
            raise InferenceError(f"{self.system.name}: has no model {', '.join(unknown)}. Its models are {keys}.")

    @property
    def folders(self) -> list[Path]:
        """Of all models."""
        return [Path(folder) for _, found in self.models for folder in found]

    def made_with(self) -> dict[str, Any]:
        """What decides over the label maps, as it stands in a record."""
        made = {"version": __version__, **asdict(self), "models": dict(self.models)}
        for key in ("device", "backend", "trust", "save_probabilities"):
            made.pop(key)
        if not made["checkpoints"]:
            made.pop("checkpoints")
        return dict(json.loads(json.dumps(made)))


class CoarseToFine:
    """The models of a job, in memory.

    Raises:
        InferenceError: a model is missing or they do not fit together.
    """

    def __init__(self, job: Job) -> None:
        self.job, device = job, torch.device(job.device)
        checkpoints, orientations = dict(job.checkpoints), dict(job.orientations)

        def loaded(folder: str) -> Model:
            checkpoint, orientation = checkpoints.get(folder, job.checkpoint), orientations.get(folder)
            return load_model(Path(folder), device, job.folds, checkpoint, job.trust, orientation, job.backend)

        self.fine = [loaded(folder) for folder in job.fine]
        self.coarse = loaded(job.coarse) if job.coarse else None
        check_models(self.fine, self.coarse)
        self.kidneys = None
        if self.coarse is not None:
            described = (self.coarse.dataset_json, self.dataset_json)
            self.kidneys = kidney_values(self.coarse.folder, *described, job.coarse_labels)
        for model in self.models:
            check_channels(model.folder, model.dataset_json)
        for model in self.models:
            model.tiling(job.settings.windows)
        if job.settings.agreement:
            for model in self.fine:
                members_of(model, job.settings.windows)

    @property
    def models(self) -> list[Model]:
        """All; the first one's plans say how scans are read."""
        return [*self.fine, *([self.coarse] if self.coarse else [])]

    @property
    def dataset_json(self) -> dict[str, Any]:
        """Of the label maps."""
        return self.fine[0].dataset_json

    @property
    def remarks(self) -> list[str]:
        """What a user should know before the first case."""
        return _unmirrored((model, self.job.settings.windows) for model in self.models)

    def predict(
        self,
        image: NDArray[np.generic],
        spacing_zyx_mm: Sequence[float],
        progress: Progress,
        clock: Clock,
        axes: Axes | None = None,
    ) -> Prediction:
        """Segment one scan: (z, y, x), HU; ``axes`` are the directions in which its axes run, where they are known."""
        first = self.fine[0]
        shown = fine_axes(first.orientation, axes, first.folder.name)
        turn = Turn() if axes is None or shown is None else turn_between(axes.read, shown)
        if not turn.is_none and self.job.save_probabilities:
            raise InferenceError(
                f"{first.folder.name}: sees scans turned to {first.orientation}, so its probabilities do not lie on "
                "the scan. Leave --save-probabilities out."
            )
        coarse = Turn()
        if self.coarse is not None:
            coarse = coarse_turn(self.coarse.orientation, self.coarse.reader, first.reader, shown, axes)
        found = predict_array(
            turn(image),
            spacing := turn.along(spacing_zyx_mm),
            self.fine,
            self.coarse,
            self.job.settings,
            progress,
            clock,
            coarse,
            self.kidneys,
        )
        labels = found.labels
        if self.job.postprocessing is not None:
            with clock("postprocessing"):
                axial = 0 if shown is None else next(n for n, letter in enumerate(shown) if letter in "IS")
                labels, _ = apply_chain(labels, Voxel(spacing, axial), load_chain(self.job.postprocessing))
        boxes = [turn.box_back(box, image.shape) for box in found.boxes]
        return replace(found, labels=turn.back(labels), boxes=boxes)

    def bytes_needed(self, shape: Sequence[int], spacing_mm: Sequence[float], stored_bytes: int) -> int:
        """Memory of one scan, see :func:`~nnunet_kits.inference.memory.bytes_needed`."""
        share = 1.0 if self.coarse is None or self.job.settings.whole_volume else ROI_SHARE
        stages = [(model, share) for model in self.fine]
        if self.coarse is not None:
            stages.append((self.coarse, 1.0))
        compared = 0
        if self.job.settings.agreement:
            windows = self.job.settings.windows
            counts = [len(members_of(model, windows)) for model in self.fine]
            compared = sum(
                bytes_of_members(model, count, share, shape, spacing_mm)
                for model, count in zip(self.fine, counts, strict=True)
            )
        return bytes_needed(stages, shape, spacing_mm, stored_bytes) + compared


class LoadedSystem:
    """The models of a system's job, in memory.

    Raises:
        InferenceError: a model is missing, does not fit its place, or they do not fit together.
    """

    def __init__(self, job: SystemJob) -> None:
        self.job, device, folders = job, torch.device(job.device), dict(job.models)
        checkpoints = dict(job.checkpoints)

        def loaded_with(folder: str, folds: tuple[str, ...] | None) -> Model:
            checkpoint = checkpoints.get(folder, job.checkpoint)
            return load_model(Path(folder), device, folds, checkpoint, job.trust, backend=job.backend)

        loaded: dict[tuple[str, tuple[str, ...] | None], list[Model]] = {}
        for member in job.system.members:
            one = (member.key, job.folds or member.folds)
            if one not in loaded:
                loaded[one] = [loaded_with(folder, one[1]) for folder in folders[member.key]]
        self.members: Models = {m: loaded[m.key, job.folds or m.folds] for m in job.system.members}
        check_members(job.system, self.members)

    @property
    def models(self) -> list[Model]:
        """All; the first one's plans say how scans are read, and stand beside the label maps."""
        last = self.job.system.stages[-1].members
        rest = [member for member in self.members if member not in last]
        return [model for member in [*last, *rest] for model in self.members[member]]

    @property
    def dataset_json(self) -> dict[str, Any]:
        """Of the label maps: the system's labels."""
        known = {key: value for key, value in self.models[0].dataset_json.items() if key != "regions_class_order"}
        return {**known, "labels": {"background": 0, **dict(self.job.system.labels)}}

    @property
    def remarks(self) -> list[str]:
        """What a user should know before the first case."""
        stages = self.job.system.stages
        return _unmirrored((m, stage.windows) for stage in stages for key in stage.members for m in self.members[key])

    def predict(
        self,
        image: NDArray[np.generic],
        spacing_zyx_mm: Sequence[float],
        progress: Progress,
        clock: Clock,
        axes: Axes | None = None,
    ) -> Prediction:
        """Segment one scan: (z, y, x), HU, as its reader gave it, whatever its axes are."""
        system, whole = self.job.system, self.job.whole_if_empty
        return predict_with_system(image, spacing_zyx_mm, system, self.members, whole, progress, clock)

    def bytes_needed(self, shape: Sequence[int], spacing_mm: Sequence[float], stored_bytes: int) -> int:
        """Memory of one scan, see :func:`~nnunet_kits.inference.memory.bytes_of_system`."""
        return bytes_of_system(self.job.system, self.members, shape, spacing_mm, stored_bytes)


Loaded = CoarseToFine | LoadedSystem


def load(job: Job | SystemJob) -> Loaded:
    """Load a job's models.

    Raises:
        InferenceError: no such device here, a model is missing, or they do not fit together.
    """
    check_device(job.device, InferenceError)
    return CoarseToFine(job) if isinstance(job, Job) else LoadedSystem(job)


def _unmirrored(models: Any) -> list[str]:
    """A sentence for every model that is mirrored along an axis that its training did not mirror."""
    found = {}
    for model, windows in models:
        axes = model.untrained_axes(windows)
        if axes:
            found[model.folder.name] = f"{model.folder.name}: is mirrored along {', '.join(axes)}, as training did not."
    return list(found.values())
