"""Whether a recipe can run with these settings: its folds, its data, and what lies in the folder already."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnunet_kits.cases.records import read_record
from nnunet_kits.cases.splits import listed
from nnunet_kits.conversion.cases import data_folder, find_cases, missing_file, numbers_of
from nnunet_kits.conversion.schemes import make_folds
from nnunet_kits.derivation.masks import REFERENCE
from nnunet_kits.derivation.record import FILE as DERIVATION_FILE
from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.environment import find_dataset
from nnunet_kits.errors import ConversionError, RecipeError
from nnunet_kits.recipes.checks import folds_in_words, wrong
from nnunet_kits.recipes.names import dataset_of, dataset_of_member, fold_count, number_of
from nnunet_kits.recipes.reading import masks_of, read_members
from nnunet_kits.recipes.recipe import Recipe
from nnunet_kits.recipes.sequence import steps_of
from nnunet_kits.recipes.smoke import reduced
from nnunet_kits.recipes.steps import RunSettings, Step
from nnunet_kits.releases import RELEASES, either

SHARED = ("convert", "derive", "plan", "preprocess", "train")
"""Steps of these verbs write where other recipes of the same folder may write, too."""

NEUTRAL = ("-device", "-num_gpus")
"""Options of theirs that change how a step is done, not what it gives."""

OTHERWISE = "Run this recipe in another --root, or give its dataset another number in a copy of it."


def checked_steps(recipe: Recipe, run: RunSettings) -> list[Step]:
    """The steps of a run, after all checks that can be made before the first of them.

    Raises:
        KitsError: what does not fit, and what to do.
    """
    if not run.smoke:
        _check_folds(recipe, run)
    _check_data(recipe, run)
    if run.smoke:  # which needs the data, and has fewer folds
        _check_folds(reduced(recipe, run)[0], run)
    steps = steps_of(recipe, run)
    _check_datasets(recipe, run, steps)
    _check_other_runs(recipe, run, steps)
    return steps


def _check_folds(recipe: Recipe, run: RunSettings) -> None:
    if run.folds is None:
        return
    asked, count = " ".join(map(str, run.folds)), fold_count(recipe)
    if not run.folds or wrong(run.folds, count):
        raise RecipeError(
            f"--folds {asked}: {recipe.name} has {folds_in_words(count)}, by conversion.splits "
            f"{recipe.conversion.splits}."
        )
    read = read_members(recipe)
    for key, member in recipe.members.items():
        if key not in read and member.folds is not None and not set(member.folds) & set(run.folds):
            raise RecipeError(
                f"--folds {asked}: {recipe.name} trains {key} in {list(member.folds)} only. Name one of those."
            )
    scored = recipe.evaluation.folds
    if scored is not None and not set(scored) & set(run.folds):
        raise RecipeError(f"--folds {asked}: {recipe.name} scores {list(scored)} only. Name one of those.")


def _check_data(recipe: Recipe, run: RunSettings) -> None:
    """The data are those of the recipe's year, and whole."""
    release = RELEASES[recipe.release]
    if recipe.phantoms is not None:
        if run.data is not None:
            raise RecipeError(f"--data {run.data}: {recipe.name} makes its own data. Leave --data out.")
        return
    if run.data is None:
        raise RecipeError(f"{recipe.name} needs --data DIR: the {release.edition} repository, or its data folder.")
    given = recipe.conversion
    try:
        cases = find_cases(release, run.data, given.aggregation, numbers_of(given.exclude, release))
    except ConversionError as error:
        raise RecipeError(f"--data {run.data}: {recipe.name} takes {release.edition}. {error}") from error
    _check_place(recipe, run.data)
    missing = [] if run.smoke else [reason for case in cases if (reason := missing_file(release, case))]
    if missing:
        more = f" {len(missing) - 1} more cases lack a file." if len(missing) > 1 else ""
        raise RecipeError(missing[0] + more)
    unlabelled = [case.name for case in cases if case.label is None]
    masked = [key for key in recipe.members if any(masks_of(recipe, key))]
    if unlabelled and masked and not run.smoke:
        raise RecipeError(
            f"{run.data}: {listed(unlabelled)} have no labels, and {recipe.name} makes masks of labelled cases only, "
            f"which {masked[0]} is cropped to. Move them elsewhere, or leave them out by conversion.exclude."
        )
    if not run.smoke:
        labelled = [case.name for case in cases if case.label is not None]
        left_out = {f"case_{number:05d}" for number in numbers_of(given.exclude, release)}
        folds = make_folds(labelled, given.splits, given.hold_out, given.folds, left_out).splits
        if len(folds) != fold_count(recipe):
            raise RecipeError(f"{run.data}: {len(labelled)} labelled cases make {len(folds)} folds, not {given.folds}.")


def _check_place(recipe: Recipe, data: Path) -> None:
    """The cases do not lie where only another year has them: the files of KiTS19 are called as those of KiTS23."""
    release = RELEASES[recipe.release]
    found = data_folder(release, data)
    place = found.relative_to(data).as_posix()
    if place not in (".", *release.data_folders):
        others = either([other.edition for other in RELEASES.values() if place in other.data_folders])
        raise RecipeError(
            f"--data {data}: {recipe.name} takes {release.edition}, which has its cases in "
            f"{either(release.data_folders)}, but here they lie in {place}, as those of {others} do. If they are "
            f"{release.edition}'s, name that folder itself: --data {found}"
        )


def _check_datasets(recipe: Recipe, run: RunSettings, steps: Sequence[Step]) -> None:
    """What lies there under the recipe's numbers is what the recipe would make."""
    names = {dataset_of(recipe), *(dataset_of_member(recipe, member) for member in recipe.members.values())}
    for name in sorted(names):
        there = find_dataset(run.raw, number_of(name))
        if there is not None and there.name != name:
            raise RecipeError(f"{there}: has the number of {name}, which {recipe.name} would make. {OTHERWISE}")
    for step in steps:
        if step.verb in ("convert", "derive"):
            (name,) = (name for name in names if step.name == f"{step.verb}_{number_of(name):03d}")
            check = _conversion_differs if step.verb == "convert" else _derivation_differs
            if differs := check(run.raw / name, step, run):
                raise RecipeError(f"{run.raw / name} was made otherwise: {differs}. {OTHERWISE}")


def _options(step: Step) -> dict[str, str]:
    """Option -> the word behind it, of a command."""
    return {option: word for option, word in itertools.pairwise(step.command) if option.startswith("-")}


def _conversion_differs(dataset: Path, step: Step, run: RunSettings) -> str:
    """What of a finished conversion is not as asked for; empty where nothing, or where none is finished."""
    done = read_record(dataset / "conversion.json")
    if done is None:
        return ""
    options = _options(step)
    release = RELEASES[options["--year"]]
    excluded = step.command[step.command.index("--exclude") + 1 :] if "--exclude" in step.command else ()
    wanted: dict[str, Any] = {
        "edition": release.edition,
        "labels": options.get("--labels", "classes"),
        "aggregation": options.get("--aggregation", next(iter(release.aggregations), None)),
        "splits": options.get("--splits", "by_number"),
        "holds_out": options.get("--splits", "by_number") != "by_number" or "--hold-out" in options,
        "excluded": [f"case_{number:05d}" for number in sorted(numbers_of(excluded, release))],
    }
    found = {"splits": "by_number", "holds_out": "held_out" in done, **done}
    if wanted["splits"] == "by_number":
        wanted["folds"] = int(options.get("--folds", 5))
    differing = _first_difference(found, wanted)
    source, runs = Path(step.command[4]).resolve(), run.root.resolve() / "runs"
    if not differing and not source.is_relative_to(runs) and done.get("source") != str(source):
        return f"of {done.get('source')}, not of {source}"
    return differing


def _derivation_differs(dataset: Path, step: Step, _: RunSettings) -> str:
    """The same of a derivation."""
    done = read_record(dataset / DERIVATION_FILE)
    if done is None:
        return ""
    options = _options(step)
    rule = load_rule(options["--rule"]).as_json()
    kept = ("labels", "ignore", "preparation")
    found, masks = done.get("rule", {}), options.get("--masks")
    if differing := _first_difference({key: found.get(key) for key in kept}, {key: rule[key] for key in kept}):
        return differing
    before, asked = _places(done.get("masks", [])), _places([masks] if masks else [])
    return "" if before == asked else f"masks are {', '.join(before)}, not {', '.join(asked)}"


def _places(masks: Sequence[str]) -> list[str]:
    """Folders by their whole path."""
    return [mask if mask == REFERENCE else str(Path(mask).expanduser().resolve()) for mask in masks]


def _first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    for key, value in wanted.items():
        if found.get(key) != value:
            return f"{key} is {json.dumps(found.get(key))}, not {json.dumps(value)}"
    return ""


def _check_other_runs(recipe: Recipe, run: RunSettings, steps: Sequence[Step]) -> None:
    """Steps that another recipe of the same folder has, too, are the same: they are shared, or nothing runs."""
    ours = {step.name: _told(step.command, run, recipe.name) for step in steps if step.verb in SHARED}
    for file in sorted(run.root.glob("runs/*/steps.json")):
        other = file.parent.name
        for step in [] if other == recipe.name else (read_record(file) or {}).get("steps", []):
            theirs = _told(step["command"], run, other)
            if step["name"] in ours and theirs != ours[step["name"]]:
                raise RecipeError(
                    f"{file}: {step['name']} is '{' '.join(theirs)}' there, and '{' '.join(ours[step['name']])}' for "
                    f"{recipe.name}. {OTHERWISE}"
                )


def _told(command: Sequence[str], run: RunSettings, recipe: str) -> list[str]:
    """A command without what is another recipe's folder, and without what does not change its result."""
    kept = [
        word
        for before, word in zip(("", *command), command, strict=False)
        if word not in NEUTRAL and before not in NEUTRAL
    ]
    return [word.replace(str(run.folder(recipe)), "RUN") for word in kept]
