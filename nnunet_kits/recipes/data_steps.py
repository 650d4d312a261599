"""Steps from the KiTS folder to arrays that networks are trained on."""

from nnunet_kits.model_folder import FINAL
from nnunet_kits.planning.presets import load_preset
from nnunet_kits.recipes.line import Line, Words, name_of
from nnunet_kits.recipes.names import dataset_of, dataset_of_member, number_of, plans_of
from nnunet_kits.recipes.reading import array_configuration
from nnunet_kits.recipes.recipe import Conversion


def convert(line: Line) -> None:
    """Convert the data, after phantoms where the recipe makes some."""
    recipe, data, after = line.recipe, str(line.run.data), list[str]()
    words: Words
    if phantoms := recipe.phantoms:
        data = f"{line.folder}/phantoms"
        words = (data, "--year", recipe.release, "--cases", str(phantoms.cases), "--size", phantoms.size)
        words += ("--seed", str(phantoms.seed)) if phantoms.seed else ()
        after = [line.kits("phantom", "phantom", words, (), line.needs.by_case(1, 8))]
    words = ("--year", recipe.release, data, *_options(recipe.conversion))
    name = f"convert_{number_of(dataset_of(recipe)):03d}"
    line.kits(name, "convert", words, after, line.needs.by_case(1, 2))


def _options(given: Conversion) -> list[str]:
    """What is said to ``convert``: all that is not its default."""
    usual = Conversion()
    words = {
        "-d": given.dataset_id,
        "--name": given.name,
        "--labels": given.labels if given.labels != usual.labels else None,
        "--aggregation": given.aggregation,
        "--folds": given.folds if given.folds != usual.folds else None,
        "--splits": given.splits if given.splits != usual.splits else None,
        "--hold-out": given.hold_out,
    }
    options = [word for option, value in words.items() if value is not None for word in (option, str(value))]
    return [*options, "--exclude", *given.exclude] if given.exclude else options


def derive(line: Line, key: str) -> None:
    """The dataset of a member, where it has one of its own."""
    made = line.member(key).derive
    if made is None:
        return
    source = dataset_of(line.recipe)
    words = ["-d", str(number_of(source)), "-o", str(made.dataset_id), "--rule", made.rule]
    words += ["--name", made.name] if made.name else []
    after = line.of("convert", source)
    if made.masks is not None and made.masks.member is None:
        words += ["--masks", "reference"]
    elif made.masks is not None and made.masks.member is not None:
        maker = made.masks.member
        found, after = str(line.model(maker).path), line.trained(maker)
        if made.masks.by == "prediction":
            found, after = _predict_training_cases(line, maker)
        words += ["--masks", found]
    words += ["--whole-volume-if-empty"] if made.masks is not None and made.masks.whole_volume_if_empty else []
    line.kits(f"derive_{made.dataset_id:03d}", "derive", words, after, line.needs.by_case(1, 2))


def _predict_training_cases(line: Line, key: str) -> tuple[str, list[str]]:
    """Label maps of all training cases by all folds of a member, on the CTs' grid, in its own folder: others share it.

    Returns:
        The folder, and the names of the steps that make it.
    """
    member, model = line.member(key), line.model(key)
    found, images = f"{model.path}/predicted_imagesTr", f"{line.run.raw}/{model.dataset_folder.name}/imagesTr"
    words: Words = ("-i", images, "-o", found, "--fine", str(model.path))
    words += ("--checkpoint", member.checkpoint) if member.checkpoint != FINAL else ()
    name, needs = f"predict_{name_of(model)}", line.needs.predict(len(line.folds(key)))
    after = [line.kits(name, "predict", (*words, *line.device), line.trained(key), needs)]
    if member.derive is None:
        return found, after
    restored = f"{model.path}/restored_imagesTr"
    words = (found, restored, "-d", str(model.dataset_id))
    return restored, [line.kits(f"restore_{name_of(model)}", "restore", words, after, line.needs.by_case(1, 1))]


def preprocess(line: Line, key: str) -> None:
    """Plans and arrays of a member's dataset, for all that are trained on it, one after the other: they share files."""
    dataset = dataset_of_member(line.recipe, line.member(key))
    number = number_of(dataset)
    if line.of("plan", dataset):
        return
    fellows = [m for m in line.recipe.members.values() if dataset_of_member(line.recipe, m) == dataset]
    last = line.of("derive", dataset) or line.of("convert", dataset)
    words: Words
    for member in fellows:
        words = ("-d", str(number), "--preset", member.plans)
        last = [line.kits(f"plan_{number:03d}_{plans_of(member)}", "plan", words, last, line.needs.plan())]
    for member in fellows:
        preset = load_preset(member.plans)
        configuration = array_configuration(preset, member.configuration)
        words = ("-d", str(number), "-p", plans_of(member), "-c", configuration)
        name = f"preprocess_{number:03d}_{plans_of(member)}_{configuration}"
        last = [f"plan_{number:03d}_{plans_of(member)}", *last]
        last = [line.kits(name, "preprocess", words, last, line.needs.preprocess(preset, configuration))]
