"""``--smoke``: the same steps with tiny networks and few iterations, so that a whole recipe runs in minutes on a CPU.

Presets, rules and systems that a recipe names are written once more, smaller, beside the run, and the recipe names
those. What is in them says what is smaller: nothing here knows a recipe.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nnunet_kits.atomic import link_folder, write_text
from nnunet_kits.conversion import schemes
from nnunet_kits.conversion.cases import Case, find_cases
from nnunet_kits.derivation.rule import RULES_FOLDER
from nnunet_kits.errors import ConversionError, RecipeError
from nnunet_kits.inference.system import SYSTEMS_FOLDER
from nnunet_kits.planning.presets import PRESETS_FOLDER
from nnunet_kits.recipes.recipe import Conversion, Masks, Member, Recipe
from nnunet_kits.recipes.steps import RunSettings
from nnunet_kits.releases import RELEASES
from nnunet_kits.shipped import read_shipped
from nnunet_kits.training.names import is_ours, parse_trainer_name

FOLDERS = {"preset": PRESETS_FOLDER, "rule": RULES_FOLDER, "system": SYSTEMS_FOLDER}
"""What a recipe names, and where the shipped ones are."""

CASES = 6
"""As many are taken of a KiTS folder: those with the smallest files."""

FOLDS = 2
SHARES = "0.6/0.2/0.2"
"""In place of a split that holds cases out, or has one fold: of five cases three, one and one."""

SMALLER = 8
"""By so much voxels are larger, and patches, fixed sizes and margins smaller."""

SPACING_MM = (13.0, 16.0)
"""Smallest and largest edge of a voxel: a kidney still has some, and few windows cover a CT."""

STAGES = 3
FEATURES = (4, 8, 8)
"""Resolutions of a network, the fewest that deep supervision takes, and the channels of each."""

BATCH = 7
"""Images in a batch at most: Chen and Jin's, of which five show foreground."""

PATCH = (16, 32, 32)
"""What a patch has in place of one that nnU-Net sizes."""

FEW = {
    "num_iterations_per_epoch": 2,
    "num_val_iterations_per_epoch": 1,
    "imagenet_weights": "none",
    "prediction_mirror_axes": [],
}
"""Training settings of every configuration."""


def reduced(recipe: Recipe, run: RunSettings) -> tuple[Recipe, RunSettings]:
    """A recipe and a run of the same steps that take minutes.

    The small files are written to ``ROOT/runs/<recipe>/reduced``, and below them links to few cases of the data.

    Args:
        recipe: any.
        run: whose folder gets the files.

    Raises:
        RecipeError: a preset, rule or system that is not there.
    """
    folder = run.folder(recipe.name) / "reduced"
    stages = tuple(
        stage.model_copy(update={"members": {key: _member(member, folder) for key, member in stage.members.items()}})
        for stage in recipe.stages
    )
    inference = recipe.inference
    if inference.system is not None:
        inference = inference.model_copy(update={"system": _written("system", inference.system, folder)})
    changes = {"stages": stages, "inference": inference, "conversion": _conversion(recipe.conversion)}
    data = None if run.data is None else few_cases(recipe.release, run.data, folder / "data")
    return recipe.model_copy(update=changes), replace(run, data=data)


def _member(member: Member, folder: Path) -> Member:
    changes: dict[str, Any] = {"plans": _written("preset", member.plans, folder)}
    changes["trainer"] = one_epoch(member.trainer)
    if member.derive is not None:
        rule = _written("rule", member.derive.rule, folder)
        changes["derive"] = member.derive.model_copy(update={"rule": rule, "masks": _masks(member.derive.masks)})
    return member.model_copy(update=changes)


def _masks(given: Masks | None) -> Masks | None:
    """A network after two iterations may find nothing: then the whole scan is taken."""
    return None if given is None else given.model_copy(update={"whole_volume_if_empty": True})


def _conversion(given: Conversion) -> Conversion:
    """Two folds of few cases; a user's own file of splits stays."""
    if schemes.is_file(given.splits):
        return given
    several = given.splits in (schemes.BY_NUMBER, schemes.KFOLD)
    return given.model_copy(update={"splits": schemes.BY_NUMBER, "folds": FOLDS} if several else {"splits": SHARES})


def one_epoch(trainer: str) -> str:
    """The name of the same trainer for one epoch, in a cascade after the same; others than ours keep their length."""
    if not is_ours(trainer):
        return trainer
    parts = parse_trainer_name(trainer)
    before = parts.previous_trainer
    return str(replace(parts, epochs=1, previous_trainer=None if before is None else one_epoch(before)))


def few_cases(year: str, data: Path, folder: Path) -> Path:
    """A KiTS folder of links to the labelled cases of another that have the smallest files.

    What is wrong with the other is left to ``nnunet_kits convert`` to say: then it is the other itself.
    """
    release = RELEASES[year]
    try:
        cases = [case for case in find_cases(release, data) if case.label is not None and case.image.is_file()]
    except ConversionError:
        return data
    for case in sorted(cases, key=_size)[:CASES]:
        link, target = folder / release.data_folders[0] / case.name, case.image.parent.resolve()
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link_folder(target, link)
    return folder if cases else data


def _size(case: Case) -> tuple[int, str]:
    return case.image.stat().st_size, case.name


def _written(kind: str, name_or_file: str, folder: Path) -> str:
    """A smaller file of the same name; the path to it."""
    path, content = read_shipped(name_or_file, FOLDERS[kind], kind, RecipeError)
    file = folder / path.name
    text = json.dumps(smaller_preset(content) if kind == "preset" else smaller_sizes(content), indent=2) + "\n"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return str(file)


def smaller_preset(content: Mapping[str, Any]) -> dict[str, Any]:
    """A preset of coarser voxels, small patches and tiny networks, planned without a memory budget.

    Where nnU-Net sizes a residual encoder, its plain network is planned, and built by ``PlannedUNetTrainer``.
    """
    configurations = {name: _smaller_configuration(given) for name, given in content["configurations"].items()}
    kept = {key: value for key, value in content.items() if key != "planner"}
    return {**kept, "features_first": FEATURES[0], "features_max": FEATURES[-1], "configurations": configurations}


def _smaller_configuration(given: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(given)
    if "features" in found:
        found["features"] = list(FEATURES)
    if "inherits_from" in found:
        return found
    for key in ("strides", "kernel_sizes"):
        if key in found:
            found[key] = found[key][:STAGES]
    if "spacing_zyx_mm" in found:
        finest, coarsest = SPACING_MM
        found["spacing_zyx_mm"] = [min(coarsest, max(finest, SMALLER * edge)) for edge in given["spacing_zyx_mm"]]
    found["patch_size"] = (
        [smaller(edge, axis) for axis, edge in _axes(given["patch_size"])] if "patch_size" in given else (list(PATCH))
    )
    found["batch_size"] = min(BATCH, given.get("batch_size", 2))
    found["kits_training"] = {**given.get("kits_training", {}), **FEW}
    return found if "strides" in found else {**found, "max_stages": STAGES}


def smaller_sizes(content: Any) -> Any:
    """A rule or a system whose fixed sizes and margins, wherever they stand, are smaller."""
    if isinstance(content, list):
        return [smaller_sizes(item) for item in content]
    if not isinstance(content, dict):
        return content
    found = {key: smaller_sizes(value) for key, value in content.items()}
    if isinstance(content.get("size"), list):
        found["size"] = [None if edge is None else smaller(edge, axis) for axis, edge in _axes(content["size"])]
    if isinstance(content.get("margin_voxels"), list):
        found["margin_voxels"] = [-(-margin // SMALLER) for margin in content["margin_voxels"]]
    return found


def smaller(edge: int, axis: str) -> int:
    """Voxels of a smaller patch: a multiple of 16, and at least 16 along z and 32, as encoders ask for, in plane."""
    return max(16 if axis == "z" else 32, -(-edge // (16 * SMALLER)) * 16)


def _axes(sizes: list[Any]) -> list[tuple[str, Any]]:
    """Sizes with the names of their axes; two are those of a slice."""
    return list(zip("zyx"[-len(sizes) :], sizes, strict=True))
