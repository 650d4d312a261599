"""A recipe in words: what it makes, how, what its source reports, and where it is not what the source says."""

from collections.abc import Iterator

from nnunet_kits.derivation.rule import load_rule
from nnunet_kits.inference.system import load_system
from nnunet_kits.planning.presets import load_preset
from nnunet_kits.recipes.names import dataset_of, dataset_of_member, fold_count
from nnunet_kits.recipes.recipe import Member, Recipe, Reported


def described(recipe: Recipe) -> Iterator[str]:
    """The lines of ``nnunet_kits recipes show``, but for the steps."""
    yield from (f"{recipe.name}: {recipe.summary}", f"Source: {recipe.source}", "")
    given, origin = recipe.conversion, "phantoms of " if recipe.phantoms else ""
    told = [f"labels {given.labels}", f"splits {given.splits}", f"folds {fold_count(recipe)}"]
    told += [f"{key} {value}" for key in ("aggregation", "hold_out") if (value := getattr(given, key)) is not None]
    told += [f"without {', '.join(given.exclude)}"] if given.exclude else []
    yield f"Data: {origin}KiTS{recipe.release} as {dataset_of(recipe)}; {', '.join(told)}"
    for stage in recipe.stages:
        yield f"Stage {stage.name}"
        for key, member in stage.members.items():
            yield from (f"  {line}" for line in _member(recipe, key, member))
    models = "; ".join(f"{place}: {', '.join(keys)}" for place, keys in recipe.inference.models.items())
    yield f"Prediction: {recipe.inference.system or 'coarse to fine'} with {models}"
    yield f"Postprocessing: {recipe.postprocessing or 'none but what the system says'}"
    yield f"Scored: {_cases(recipe)}"
    if recipe.reported:
        yield from ("", "Reported by the source")
        yield from (f"  {_reported(reported)}" for reported in recipe.reported)
    yield from ("", "Deviations")
    for where, deviations in deviations_of(recipe).items():
        yield from (f"  {where}: {deviation}" for deviation in deviations)


def deviations_of(recipe: Recipe) -> dict[str, list[str]]:
    """Where a recipe and what it names are not what their sources say: by the file that says so."""
    found = {"recipe": list(recipe.deviations)}
    for member in recipe.members.values():
        preset = load_preset(member.plans)
        found[preset.name] = list(preset.deviations)
        if member.derive is not None:
            rule = load_rule(member.derive.rule)
            found[rule.name] = list(rule.deviations)
    if recipe.inference.system is not None:
        system = load_system(recipe.inference.system)
        found[f"system {system.name}"] = list(system.deviations)
    return {where: deviations for where, deviations in found.items() if deviations}


def _member(recipe: Recipe, key: str, member: Member) -> Iterator[str]:
    folds = range(fold_count(recipe)) if member.folds is None else member.folds
    yield f"{key}: {member.trainer}, {member.configuration} of {member.plans}, folds {' '.join(map(str, folds))}"
    if member.derive is not None:
        masks = member.derive.masks
        of = "" if masks is None else f", masks by {masks.by}{f' of {masks.member}' if masks.member else ''}"
        yield f"  on {dataset_of_member(recipe, member)}, derived by {member.derive.rule}{of}"
    if member.checkpoint != Member.model_fields["checkpoint"].default:
        yield f"  predicts with {member.checkpoint}"


def _cases(recipe: Recipe) -> str:
    evaluation = recipe.evaluation
    if evaluation.cases == "held_out":
        cases = "the cases held out of all folds"
    else:
        of = "all folds" if evaluation.folds is None else f"folds {' '.join(map(str, evaluation.folds))}"
        cases = f"the cases that {of} validate, each by models that were not trained on it"
    return cases + (f"; by themselves: {', '.join(evaluation.alone)}" if evaluation.alone else "")


def _reported(reported: Reported) -> str:
    scores = ", ".join(
        f"{kind.replace('_', ' ')} of {name} {value:g}"
        for kind, values in reported.scores.items()
        for name, value in values.items()
    )
    return f"{reported.what}: {scores}; mean of {reported.mean_of}"
