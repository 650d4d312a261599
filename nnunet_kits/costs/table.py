"""What a whole recipe costs: a row for each member, for the prediction, and the sum; and what it was reckoned from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.costs.known import BATCH, KNOWN
from nnunet_kits.costs.members import cases_of, works_of
from nnunet_kits.costs.reckon import Assumptions, Cost, Work, cost_of, windows_of
from nnunet_kits.errors import RecipeError
from nnunet_kits.inference.system import load_system
from nnunet_kits.inference.tiling import Windows
from nnunet_kits.recipes import Recipe, RunSettings, steps_of
from nnunet_kits.recipes.names import fold_count


@dataclass(frozen=True)
class Row:
    """One member's trainings, or one member's part of the prediction.

    Attributes:
        what: member, or member and ``predict``.
        folds: that are trained; 0 of a prediction.
        parameters: of the network.
        patch_size: voxels.
        batch_size: images.
        tflop: 10^12 operations of an iteration, or of a case.
        seconds: of an iteration, or of a case.
        hours: of one fold, or of the whole prediction.
        total_hours: of all folds, or of the whole prediction.
        gpu_gb: at most.
    """

    what: str
    folds: int
    parameters: int
    patch_size: tuple[int, ...]
    batch_size: int
    tflop: float
    seconds: float
    hours: float
    total_hours: float
    gpu_gb: float


@dataclass(frozen=True)
class Bill:
    """What a recipe costs.

    Attributes:
        rows: of trainings and predictions.
        gpu_hours: in sum.
        gpu_gb: of the largest.
        memory_gb: of a machine, of the step that asks for most.
        disk_gb: of all steps.
        assumptions: in words.
    """

    rows: list[Row]
    gpu_hours: float
    gpu_gb: float
    memory_gb: float
    disk_gb: float
    assumptions: list[str]


def bill_of(recipe: Recipe, assumptions: Assumptions) -> Bill:
    """Reckon a recipe.

    Args:
        recipe: any; what its presets do not size is planned for usual CTs, which takes a minute.
        assumptions: rate, or measured times.

    Raises:
        RecipeError: a time of a member that the recipe does not have.
        KitsError: a network that cannot be built here.
    """
    unknown = [key for key in assumptions.seconds_per_iteration if key and key not in recipe.members]
    if unknown:
        raise RecipeError(f"--seconds-per-iteration {unknown[0]}=...: the members are {', '.join(recipe.members)}.")
    works = works_of(recipe)
    costs = {key: cost_of(work, key, assumptions) for key, work in works.items()}
    rows = [_training(recipe, key, works[key], costs[key]) for key in works]
    rows += _predictions(recipe, works, costs)
    steps = steps_of(recipe, RunSettings(Path("ROOT"), None if recipe.phantoms else Path("DATA")))
    return Bill(
        rows,
        sum(row.total_hours for row in rows),
        max(row.gpu_gb for row in rows),
        max(step.resources.memory_gb for step in steps),
        sum(step.resources.disk_gb for step in steps),
        assumptions.told(),
    )


def _training(recipe: Recipe, key: str, work: Work, cost: Cost) -> Row:
    member = recipe.members[key]
    folds = fold_count(recipe) if member.folds is None else len(member.folds)
    hours = cost.training_hours + cost.validation_hours
    tflop = 3 * work.forward_tflop * work.batch_size
    about = (work.parameters, work.patch_size, work.batch_size, tflop, cost.seconds_per_iteration)
    return Row(key, folds, *about, hours, hours * folds, cost.gpu_gb)


def _predictions(recipe: Recipe, works: Mapping[str, Work], costs: Mapping[str, Cost]) -> list[Row]:
    """Every case that is scored, by one fold of each member; those that are held out by all."""
    windows = (
        {}
        if recipe.inference.system is None
        else {
            member.key: stage.windows
            for stage in load_system(recipe.inference.system).stages
            for member in stage.members
        }
    )
    held_out = recipe.evaluation.cases == "held_out"
    scored = recipe.evaluation.folds
    share = 0.1 if held_out else 1 if scored is None else len(scored) / fold_count(recipe)
    rows = []
    for place, keys in recipe.inference.models.items():
        for key in keys:
            work, cost, given = works[key], costs[key], windows.get(place, Windows())
            flips = work.flips if given.mirror_axes is None else 2 ** len(given.mirror_axes)
            passes = windows_of(work.shape, work.patch_size, given.step) * flips
            passes *= fold_count(recipe) if held_out else 1
            seconds = passes * cost.image_seconds
            hours = seconds * share * cases_of(recipe) / 3600
            about = (work.parameters, work.patch_size, 1, passes * work.forward_tflop, seconds)
            rows.append(Row(f"{key}, predict", 0, *about, hours, hours, 0))
    return rows


def beside_known(assumptions: Assumptions) -> list[tuple[str, float, float, float, float]]:
    """Name, hours reckoned and published, GPU GB reckoned and published, of nnU-Net Revisited's networks on KiTS23."""
    rows = []
    for known in KNOWN:
        work = Work(0, known.forward_tflop, known.outputs, known.patch_size, BATCH, 1000, known.patch_size)
        cost = cost_of(work, assumptions=Assumptions(assumptions.tflops))
        rows.append((known.name, cost.training_hours, known.hours, cost.gpu_gb, known.gpu_gb))
    return rows


def lines_of(bill: Bill, known: list[tuple[str, float, float, float, float]]) -> list[str]:
    """A bill as a table, and below it what it rests on."""
    lines = [
        f"{'member':22} {'folds':>5} {'M params':>8} {'patch':>13} {'batch':>5} {'TFLOP':>8} {'s':>8} {'h a fold':>8} "
        f"{'GPU h':>7} {'GPU GB':>6}"
    ]
    for row in bill.rows:
        patch, folds = "x".join(map(str, row.patch_size)), row.folds or ""
        memory = f"{row.gpu_gb:6.1f}" if row.folds else " " * 6
        lines.append(
            f"{row.what:22} {folds!s:>5} {row.parameters / 1e6:8.1f} {patch:>13} {row.batch_size:5} {row.tflop:8.2f} "
            f"{row.seconds:8.3f} {row.hours:8.1f} {row.total_hours:7.1f} {memory}"
        )
    lines += [
        f"{'in sum':22} {bill.gpu_hours:71.1f} GPU hours, {bill.gpu_hours / 24:.1f} days of one GPU",
        f"A GPU of {bill.gpu_gb:.1f} GB, a machine of {bill.memory_gb:.0f} GB, {bill.disk_gb:.0f} GB of disk",
        "",
        "TFLOP and s are of an iteration, and of a case where it says predict. Reckoned, not measured:",
        *(f"- {line}" for line in bill.assumptions),
        "",
        "The same reckoning beside nnU-Net Revisited's figures for KiTS23, one fold on an A100:",
        f"{'':22} {'h':>6} {'published':>9} {'error':>6} {'GPU GB':>8} {'published':>9} {'error':>6}",
    ]
    for name, hours, hours_there, memory_gb, memory_there in known:
        lines.append(
            f"{name:22} {hours:6.1f} {hours_there:9.1f} {hours / hours_there - 1:+6.0%} "
            f"{memory_gb:8.1f} {memory_there:9.1f} {memory_gb / memory_there - 1:+6.0%}"
        )
    return lines
