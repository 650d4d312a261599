"""Presets: what a plans file should say, as data. One JSON file in ``presets/`` is one preset."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_kits.errors import PlanError
from nnunet_kits.shipped import read_shipped, shipped_names

PRESETS_FOLDER = Path(__file__).parent / "presets"
DEFAULT_TRAINER = "ResUNetTrainer"
"""What to train with where no preset says it."""

SIZES = {"ExperimentPlanner": ("patch_size", "batch_size"), "nnUNetPlannerResEncL": ()}
"""nnU-Net's planner -> what a configuration must say because that planner does not."""

CONFIGURATION_KEYS = ("spacing_zyx_mm", "batch_dice")
UNSIZED_KEYS = ("resampling", "next_stage", "kits_training")
OPTIONAL_KEYS = ("max_stages", "strides", "kernel_sizes", "features", *UNSIZED_KEYS)
INHERITING_KEYS = ("previous_stage", "features")

UNRESAMPLED = "none"
"""What ``resampling`` says of a configuration whose data are left on their own voxels."""

KINDS = ("data", "seg", "probabilities")
"""What is resampled, in nnU-Net's words: images, label maps, and what the network answers."""

INTENSITY_KEYS = ("clip_hu", "mean", "std")


@dataclass(frozen=True)
class Preset:
    """One preset.

    Attributes:
        name: file stem, which becomes the plans' name.
        summary: one line for a list.
        source: paper and section the numbers come from, or ``ours``.
        features_first: channels at the input's resolution; they double with every stage.
        features_max: their limit.
        configurations: name -> what nnU-Net's configuration of that name gets. Either ``spacing_zyx_mm``,
            ``patch_size``, ``batch_size``, ``batch_dice`` and optionally ``max_stages`` (fewer resolutions than
            nnU-Net's rules give), ``strides`` and ``kernel_sizes`` (one per stage, instead of nnU-Net's rules),
            ``features`` (one per stage, instead of doubling ones), ``resampling`` (orders of the splines, one for each
            of :data:`KINDS`, or :data:`UNRESAMPLED`: then there is no ``spacing_zyx_mm``), ``next_stage`` and
            ``kits_training``; or ``inherits_from`` with ``previous_stage`` or ``features``. A two-dimensional
            configuration gives (y, x) where others give (z, y, x). Where the planner sizes, nothing of patch, batch,
            stages, strides, kernels and features.
        planner: nnU-Net's planner that chooses topology and network: ``ExperimentPlanner``, or
            ``nnUNetPlannerResEncL``, which also sizes patch and batch.
        hu_window: lowest and highest HU; what lies outside is clipped, and they become -1 and 1. None for nnU-Net's
            rule: percentiles, mean and deviation of labelled voxels.
        intensity: instead of ``hu_window``, any of ``clip_hu`` (lowest and highest HU, or None for no clipping), and
            ``mean`` and ``std``, which become 0 and 1; nnU-Net's rule for what is not there.
        deviations: where the preset is not what the source says, or the source is silent.
        trainers: configuration -> the trainer that the system of the source is trained with there.
    """

    name: str
    summary: str
    source: str
    features_first: int
    features_max: int
    configurations: Mapping[str, Mapping[str, Any]]
    planner: str = "ExperimentPlanner"
    hu_window: tuple[float, float] | None = None
    intensity: Mapping[str, Any] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    trainers: Mapping[str, str] = field(default_factory=dict)


def preset_names() -> list[str]:
    """Names of all presets."""
    return shipped_names(PRESETS_FOLDER)


def training_commands(
    dataset_id: int,
    plans: str,
    configurations: Mapping[str, Mapping[str, Any]],
    trainers: Mapping[str, str] | None = None,
) -> list[str]:
    """What to type to train each configuration, the lower resolution before the higher one.

    A cascade is trained whole, by ``nnunet_kits cascade``, and only where its low resolution is among the
    configurations.

    Args:
        dataset_id: number of the dataset.
        plans: name of the plans.
        configurations: name -> configuration, as plans or presets have them.
        trainers: configuration -> trainer; None for those of the preset of this name. :data:`DEFAULT_TRAINER` where
            they say none.
    """
    if trainers is None:
        trainers = load_preset(plans).trainers if plans in preset_names() else {}
    commands = []
    for name in sorted(configurations, key=lambda name: "next_stage" not in configurations[name]):
        trainer = trainers.get(name, DEFAULT_TRAINER)
        if "previous_stage" not in configurations[name]:
            commands.append(f"nnUNetv2_train {dataset_id} {name} 0 -p {plans} -tr {trainer}")
        elif configurations[name]["previous_stage"] in configurations:
            commands.append(f"nnunet_kits cascade -d {dataset_id} -p {plans} -tr {trainer}")
    return commands


def load_preset(name_or_file: str) -> Preset:
    """A preset by its name, or from a JSON file of one's own.

    Raises:
        PlanError: no such preset, or a file that is none; the message names the key and what is allowed.
    """
    path, content = read_shipped(name_or_file, PRESETS_FOLDER, "preset", PlanError)
    if not isinstance(content, dict):
        raise PlanError(f"{path}: a preset is a JSON object, not a {type(content).__name__}.")
    needed = ("summary", "source", "features_first", "features_max", "configurations")
    _exactly(str(path), content, needed, ("planner", "hu_window", "intensity", "deviations", "trainers"))
    if content.get("planner", "ExperimentPlanner") not in SIZES:
        raise PlanError(f"{path}: there is no planner {content['planner']!r}. Allowed: {', '.join(SIZES)}.")
    _check_window(f"{path}: hu_window", content.get("hu_window"))
    _check_intensity(str(path), content)
    if foreign := [name for name in content.get("trainers", {}) if name not in content["configurations"]]:
        raise PlanError(
            f"{path}: trainers names {foreign[0]!r}, which the preset does not have. "
            f"It has: {', '.join(content['configurations'])}."
        )
    for name, configuration in content["configurations"].items():
        where, sizes = f"{path}, configuration {name}", SIZES[content.get("planner", "ExperimentPlanner")]
        _check_configuration(where, configuration, content["configurations"], sizes)
    return Preset(name=path.stem, **{**content, "deviations": tuple(content.get("deviations", ()))})


def _check_configuration(
    where: str, given: Mapping[str, Any], all_configurations: Mapping[str, Any], sizes: tuple[str, ...]
) -> None:
    if "inherits_from" in given:
        _exactly(where, given, ("inherits_from",), INHERITING_KEYS)
    else:
        unresampled = given.get("resampling") == UNRESAMPLED and bool(sizes)
        needed = CONFIGURATION_KEYS[unresampled:] + sizes
        _exactly(where, given, needed, OPTIONAL_KEYS if sizes else UNSIZED_KEYS)
        for key in {"spacing_zyx_mm", "patch_size"} & set(given):
            if len(given[key]) not in (2, 3) or any(value <= 0 for value in given[key]):
                raise PlanError(
                    f"{where}: {key} is {given[key]}, but must be three positive numbers (z, y, x), or two for 2D."
                )
        if len({len(given[key]) for key in ("spacing_zyx_mm", "patch_size") if key in given}) > 1:
            raise PlanError(f"{where}: spacing_zyx_mm and patch_size must have as many numbers, three or two.")
        if len(given.get("strides", [])) != len(given.get("kernel_sizes", [])):
            raise PlanError(f"{where}: strides and kernel_sizes go together, one of each per stage.")
        _check_resampling(where, given.get("resampling", UNRESAMPLED))
    features = given.get("features", [1])
    if not isinstance(features, list) or not features or not all(map(_is_count, features)):
        raise PlanError(f"{where}: features is {features!r}, but must be a list of positive integers, one per stage.")
    stages = given.get("max_stages", 3)
    if isinstance(stages, bool) or not isinstance(stages, int) or stages < 3:
        raise PlanError(f"{where}: max_stages is {stages!r}, but deep supervision needs an integer of at least 3.")
    for key in ("inherits_from", "previous_stage", "next_stage"):
        if key in given and given[key] not in all_configurations:
            raise PlanError(
                f"{where}: {key} names {given[key]!r}, which the preset does not have. "
                f"It has: {', '.join(all_configurations)}."
            )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_window(what: str, window: Any) -> None:
    """Refuse what is not two rising numbers; None is no window."""
    rising = isinstance(window, list) and len(window) == 2 and all(map(_is_number, window)) and window[0] < window[1]
    if window is not None and not rising:
        raise PlanError(f"{what} is {window}, but must be the lowest and the highest HU.")


def _check_intensity(where: str, content: Mapping[str, Any]) -> None:
    given = content.get("intensity", {})
    if not isinstance(given, dict):
        raise PlanError(f"{where}: intensity is {given!r}, but must be an object with {', '.join(INTENSITY_KEYS)}.")
    _exactly(f"{where}, intensity", given, (), INTENSITY_KEYS)
    if given and content.get("hu_window") is not None:
        raise PlanError(f"{where}: hu_window and intensity both say what becomes of HU. Keep one.")
    _check_window(f"{where}: clip_hu of intensity", given.get("clip_hu"))
    for key, least in (("mean", -math.inf), ("std", 0)):
        if key in given and not (_is_number(given[key]) and given[key] > least):
            raise PlanError(
                f"{where}: {key} of intensity is {given[key]!r}, but must be a {'positive ' * (key == 'std')}number."
            )


def _check_resampling(where: str, given: Any) -> None:
    """Refuse anything but :data:`UNRESAMPLED` and an order for each of :data:`KINDS`, of label maps at most 1."""
    if given == UNRESAMPLED:
        return
    fits = isinstance(given, dict) and set(given) == set(KINDS)
    if not fits or any(given[kind] not in range(2 if kind == "seg" else 6) for kind in KINDS):
        raise PlanError(
            f"{where}: resampling is {given!r}, but must be '{UNRESAMPLED}', or an object with the orders of the "
            f"splines for {', '.join(KINDS)}: 0 to 5, for seg 0 or 1."
        )


def _exactly(where: str, given: Mapping[str, Any], needed: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    missing = [key for key in needed if key not in given]
    unknown = [key for key in given if key not in needed and key not in optional]
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise PlanError(f"{where}: {' and '.join(parts)}. Allowed: {', '.join((*needed, *optional))}.")
