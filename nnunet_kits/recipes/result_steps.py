"""Steps from trained models to the report."""

from nnunet_kits.model_folder import FINAL
from nnunet_kits.recipes.line import Line
from nnunet_kits.recipes.names import dataset_of
from nnunet_kits.recipes.recipe import DETERMINE

EACH = 1
"""Minutes that a case takes to be cleaned up, scored, measured or drawn."""


def finish(line: Line) -> None:
    """Predict, postprocess, score, measure, report."""
    recipe, raw = line.recipe, f"{line.run.raw}/{dataset_of(line.recipe)}"
    needs = line.needs.by_case(EACH)
    predicted = f"{line.folder}/predicted"
    last = _predict(line, predicted)
    if recipe.postprocessing is not None:
        words = (predicted, f"{line.folder}/postprocessed", *_chain(line, predicted, raw))
        last, predicted = line.kits("postprocess", "postprocess", words, [last], needs), f"{line.folder}/postprocessed"
    for key in recipe.evaluation.alone:
        words = ("--model", str(line.model(key).path), "-o", f"{line.folder}/members/{key}")
        line.kits(f"evaluate_{key}", "evaluate", words, line.trained(key), needs)
    models = [str(line.model(key).path) for key in recipe.predicting]
    words = (predicted, "--model", models[-1], "-o", f"{line.folder}/evaluation")
    scored = line.kits("evaluate", "evaluate", words, [last], needs)
    images = ("--images", f"{raw}/imagesTr")
    words = (predicted, *images, "-o", f"{line.folder}/measures")
    measured = line.kits("measure", "measure", words, [last], needs)
    words = (*images, "--predictions", predicted, "--references", f"{raw}/labelsTr")
    words += tuple(word for model in models for word in ("--model", model))
    words += ("--year", recipe.release, "--title", recipe.name, "-o", f"{line.folder}/report.html")
    line.kits("report", "report", words, [scored, measured], needs)


def _chain(line: Line, predicted: str, raw: str) -> tuple[str, ...]:
    """Options of ``postprocess``: the chain, or how it is chosen."""
    chain = str(line.recipe.postprocessing)
    if chain != DETERMINE:
        return ("--chain", chain)
    choice = ("--determine", "--predictions", predicted, "--references", f"{raw}/labelsTr")
    return (*choice, "--year", line.recipe.release, "--splits", f"{raw}/splits_final.json")


def _predict(line: Line, output: str) -> str:
    """The cases that are scored, each by models that were not trained on it."""
    inference, predicting = line.recipe.inference, line.recipe.predicting
    words = ("--fold-cases", *_cases(line), "-o", output)
    if inference.system is None:
        for place, keys in inference.models.items():
            words += (f"--{place}", *(str(line.model(key).path) for key in keys))
    else:
        words += ("--system", inference.system)
        for place, keys in inference.models.items():
            words += tuple(word for key in keys for word in ("--model", f"{place}={line.model(key).path}"))
    checkpoint = next(iter(predicting.values())).checkpoint
    words += ("--checkpoint", checkpoint) if checkpoint != FINAL else ()
    trained = [name for key in predicting for name in line.trained(key)]
    return line.kits("predict", "predict", (*words, *line.device), trained, line.needs.predict(len(predicting)))


def _cases(line: Line) -> tuple[str, ...]:
    """What is said behind ``--fold-cases``; nothing for all folds."""
    evaluation, asked = line.recipe.evaluation, line.run.folds
    if evaluation.cases == "held_out":
        return ("held_out",)
    scored = asked if evaluation.folds is None else evaluation.folds
    return tuple(str(fold) for fold in scored or () if asked is None or fold in asked)
