"""The work of every member of a recipe: of shipped ones counted before, of others planned and counted now."""

import json
from pathlib import Path
from typing import Any

from nnunet_kits.conversion.cases import numbers_of
from nnunet_kits.costs.planned import Job, plans_of
from nnunet_kits.costs.reckon import ITERATIONS, VALIDATION_ITERATIONS, Work
from nnunet_kits.costs.usual import usual_scan
from nnunet_kits.planning.presets import load_preset
from nnunet_kits.recipes.names import dataset_json_of, fold_count
from nnunet_kits.recipes.recipe import Member, Recipe
from nnunet_kits.recipes.resources import epochs_and_settings
from nnunet_kits.releases import RELEASES

COUNTED = Path(__file__).parent / "counted.json"
"""Key of what a member's network and windows depend on -> its size and patches; ``benchmarks/cost.py`` writes it."""


def works_of(recipe: Recipe) -> dict[str, Work]:
    """Key of each member -> what one of its folds is.

    Raises:
        KitsError: something that the recipe names cannot be planned or built.
    """
    known: dict[str, dict[str, Any]] = json.loads(COUNTED.read_text(encoding="utf-8")) if COUNTED.is_file() else {}
    left = {key: member for key, member in recipe.members.items() if identity(recipe, member) not in known}
    if left:
        known = {**known, **count(recipe, list(left.values()))}
    return {key: _work(recipe, member, known[identity(recipe, member)]) for key, member in recipe.members.items()}


def identity(recipe: Recipe, member: Member) -> str:
    """What size and windows of a member's network follow from, as text."""
    scan, preset = usual_scan(member), load_preset(member.plans)
    network = member.trainer.split("_")[0]
    facts = [
        network,
        member.configuration,
        scan.shape,
        scan.spacing_mm,
        dataset_json_of(recipe, member),
        cases_of(recipe),
    ]
    planned = [preset.planner, preset.features_first, preset.features_max, preset.configurations]
    return json.dumps([*facts, *planned], sort_keys=True)


def cases_of(recipe: Recipe) -> int:
    """Training cases of the release, or phantoms."""
    if recipe.phantoms is not None:
        return recipe.phantoms.cases
    release = RELEASES[recipe.release]
    return sum(map(len, release.training)) - len(numbers_of(recipe.conversion.exclude, release))


def count(recipe: Recipe, members: list[Member]) -> dict[str, dict[str, Any]]:
    """Plan members for usual CTs, and count their networks."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunet_kits.costs.counting import network_of, size_of

    jobs: dict[str, Job] = {}
    for member in members:
        job = Job(member.plans, dataset_json_of(recipe, member), cases_of(recipe), usual_scan(member))
        jobs[identity(recipe, member)] = job
    found = {}
    for (key, job), plans in zip(jobs.items(), plans_of(list(jobs.values())), strict=True):
        member = next(member for member in members if identity(recipe, member) == key)
        given = PlansManager(plans).get_configuration(member.configuration)
        size = size_of(network_of(plans, member.configuration, member.trainer, job.labels), given.patch_size)
        resampled = load_preset(member.plans).configurations
        found[key] = {
            "parameters": size.parameters,
            "forward_tflop": round(size.forward_tflop, 6),
            "outputs": size.outputs,
            "patch_size": list(map(int, given.patch_size)),
            "batch_size": int(given.batch_size),
            "shape": list(job.scan.at(_spacing(resampled, member.configuration))),
        }
    return found


def _spacing(configurations: Any, name: str) -> tuple[float, ...] | None:
    """Of a configuration, or of the one that it inherits from; None where the data's own voxels are kept."""
    given = configurations[name]
    if "inherits_from" in given:
        return _spacing(configurations, given["inherits_from"])
    return tuple(given["spacing_zyx_mm"]) if "spacing_zyx_mm" in given else None


def _work(recipe: Recipe, member: Member, counted: dict[str, Any]) -> Work:
    epochs, usual = epochs_and_settings(member.trainer)
    settings = {**usual, **_settings(load_preset(member.plans).configurations, member.configuration)}
    patch = tuple(counted["patch_size"])
    mirrored = settings.get("prediction_mirror_axes", settings.get("mirror_axes", range(len(patch))))
    return Work(
        counted["parameters"],
        counted["forward_tflop"],
        counted["outputs"],
        patch,
        counted["batch_size"],
        epochs,
        tuple(counted["shape"]),
        2 ** len(mirrored),
        cases_of(recipe) / max(2, fold_count(recipe)),
        settings.get("num_iterations_per_epoch", ITERATIONS),
        settings.get("num_val_iterations_per_epoch", VALIDATION_ITERATIONS),
        settings.get("mixed_precision", True),
    )


def _settings(configurations: Any, name: str) -> dict[str, Any]:
    given = configurations[name]
    inherited = _settings(configurations, given["inherits_from"]) if "inherits_from" in given else {}
    return {**inherited, **given.get("kits_training", {})}
