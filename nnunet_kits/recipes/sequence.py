"""The steps of a recipe, in an order in which they may be typed one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nnunet_kits.errors import RecipeError
from nnunet_kits.model_folder import FINAL, ModelFolder
from nnunet_kits.planning.presets import Preset, load_preset
from nnunet_kits.recipes.names import dataset_of, dataset_of_member, fold_count, model_of, number_of, plans_of
from nnunet_kits.recipes.reading import read_members, readings
from nnunet_kits.recipes.recipe import DETERMINE, Recipe
from nnunet_kits.recipes.smoke import reduced
from nnunet_kits.recipes.steps import RunSettings, Step

Command = tuple[str, ...]


def steps_of(recipe: Recipe, run: RunSettings) -> list[Step]:
    """Every step of a run.

    Args:
        recipe: checked before, see :func:`nnunet_kits.recipes.checks.check_recipe`.
        run: where and how; of a smoke run the small files that its steps name are written, see :mod:`.smoke`.
    """
    if run.smoke:
        recipe, run = reduced(recipe, run)
    line = _Line(recipe, run)
    line.prepare_data()
    for stage in recipe.stages:
        for key in stage.members:
            line.derive(key)
            line.preprocess_all(key)
        for key in stage.members:
            line.train(key)
    line.finish()
    return line.steps if run.until is None else needed_for(line.steps, run.until)


def needed_for(steps: Sequence[Step], until: str) -> list[Step]:
    """A step, or all of a verb, and those whose results they read.

    Args:
        steps: all, in order.
        until: a step's name, or a verb.

    Raises:
        RecipeError: no step has that name or verb.
    """
    kept = {step.name for step in steps if until in (step.name, step.verb)}
    if not kept:
        verbs = ", ".join(dict.fromkeys(step.verb for step in steps))
        raise RecipeError(f"--until {until}: no such step. Name one of the steps, or a verb: {verbs}.")
    for step in reversed(steps):
        kept |= set(step.after) if step.name in kept else set()
    return [step for step in steps if step.name in kept]


@dataclass
class _Line:
    """The steps so far; each is added once, by its name."""

    recipe: Recipe
    run: RunSettings
    steps: list[Step] = field(default_factory=list)

    def add(self, name: str, verb: str, command: Sequence[str], after: Sequence[str] = ()) -> str:
        """Add a step, unless it is there."""
        if name not in self.names:
            self.steps.append(Step(name, verb, tuple(command), tuple(dict.fromkeys(after))))
        return name

    @property
    def names(self) -> list[str]:
        return [step.name for step in self.steps]

    def of(self, *verbs: str, dataset: str = "") -> list[str]:
        """Names of the steps so far of some verbs, of all datasets or of one."""
        number = f"_{number_of(dataset):03d}" if dataset else ""
        return [s.name for s in self.steps if s.verb in verbs and f"{s.name}_".startswith(f"{s.verb}{number}_")]

    @property
    def folder(self) -> str:
        return str(self.run.folder(self.recipe.name))

    @property
    def device(self) -> Command:
        return () if self.run.device == "cuda" else ("--device", self.run.device)

    # data

    def prepare_data(self) -> None:
        """Convert, after phantoms where the recipe makes some."""
        given, data = self.recipe.conversion, str(self.run.data)
        after: list[str] = []
        if phantoms := self.recipe.phantoms:
            data = f"{self.folder}/phantoms"
            words = ["--year", self.recipe.release, "--cases", str(phantoms.cases), "--size", phantoms.size]
            words += ["--seed", str(phantoms.seed)] if phantoms.seed else []
            after = [self.add("phantom", "phantom", ("nnunet_kits", "phantom", data, *words))]
        options = {"-d": given.dataset_id, "--name": given.name, "--aggregation": given.aggregation}
        options |= {"--labels": given.labels if given.labels != "classes" else None}
        options |= {"--folds": given.folds if given.folds != 5 else None}
        options |= {"--splits": given.splits if given.splits != "by_number" else None, "--hold-out": given.hold_out}
        words = [word for option, value in options.items() if value is not None for word in (option, str(value))]
        words += ["--exclude", *given.exclude] if given.exclude else []
        name = f"convert_{number_of(dataset_of(self.recipe)):03d}"
        self.add(name, "convert", ("nnunet_kits", "convert", "--year", self.recipe.release, data, *words), after)

    def derive(self, key: str) -> None:
        """The dataset of a member, where it has one of its own."""
        derive = self.recipe.members[key].derive
        if derive is None:
            return
        source, after, masks = number_of(dataset_of(self.recipe)), self.of("convert"), []
        if derive.masks is not None and derive.masks.by == "reference":
            masks = ["--masks", "reference"]
        elif derive.masks is not None and derive.masks.member is not None:
            maker = derive.masks.member
            after = self.trained(maker)
            found = str(self.model(maker).path)
            if derive.masks.by == "prediction":
                found, after = self.predict_training_cases(maker)
            masks = ["--masks", found]
        command: Command = ("nnunet_kits", "derive", "-d", str(source), "-o", str(derive.dataset_id))
        command += ("--rule", derive.rule, *(("--name", derive.name) if derive.name else ()))
        self.add(f"derive_{derive.dataset_id:03d}", "derive", (*command, *masks), after)

    def predict_training_cases(self, key: str) -> tuple[str, list[str]]:
        """Label maps of all training cases by all folds of a member, on the CTs' grid; they lie in its folder."""
        member, model = self.recipe.members[key], self.model(key)
        dataset = model.dataset_folder.name
        found, images = str(model.path / "predicted_imagesTr"), str(self.run.raw / dataset / "imagesTr")
        command: Command = ("nnunet_kits", "predict", "-i", images, "-o", found, "--fine", str(model.path))
        command += ("--checkpoint", member.checkpoint) if member.checkpoint != FINAL else ()
        name = f"predict_{_name(model)}"
        after = [self.add(name, "predict", (*command, *self.device), self.trained(key))]
        if member.derive is not None:
            restored = str(model.path / "restored_imagesTr")
            words = (found, restored, "-d", str(model.dataset_id))
            found = restored
            after = [self.add(f"restore_{_name(model)}", "restore", ("nnunet_kits", "restore", *words), after)]
        return found, after

    def preprocess_all(self, key: str) -> None:
        """Plans and arrays of a member's dataset, for all members that are trained on it, one after the other."""
        dataset = dataset_of_member(self.recipe, self.recipe.members[key])
        number = number_of(dataset)
        if self.of("plan", dataset=dataset):
            return
        fellows = [m for m in self.recipe.members.values() if dataset_of_member(self.recipe, m) == dataset]
        last = self.of("derive", dataset=dataset) or self.of("convert")
        for member in fellows:
            words = ("-d", str(number), "--preset", member.plans)
            last = [self.add(f"plan_{number:03d}_{plans_of(member)}", "plan", ("nnunet_kits", "plan", *words), last)]
        for member in fellows:
            configuration = array_configuration(load_preset(member.plans), member.configuration)
            command = ("nnunet_kits", "preprocess", "-d", str(number), "-p", plans_of(member), "-c", configuration)
            last = [
                self.add(f"preprocess_{number:03d}_{plans_of(member)}_{configuration}", "preprocess", command, last)
            ]

    # models

    def model(self, key: str) -> ModelFolder:
        return model_of(self.recipe, self.recipe.members[key], self.run)

    def folds(self, key: str) -> tuple[int, ...]:
        """Those of a member that are trained: what other stages read, whole."""
        member = self.recipe.members[key]
        own = tuple(range(fold_count(self.recipe))) if member.folds is None else member.folds
        return (
            own
            if self.run.folds is None or key in read_members(self.recipe)
            else tuple(f for f in own if f in self.run.folds)
        )

    def trained(self, key: str) -> list[str]:
        """Names of the steps that train a member."""
        return [f"train_{_name(self.model(key))}_fold{fold}" for fold in self.folds(key)]

    def train(self, key: str) -> None:
        """One step a fold."""
        member, model = self.recipe.members[key], self.model(key)
        preset = load_preset(member.plans)
        following = preset.configurations.get(member.configuration, {}).get("next_stage")
        needed = {array_configuration(preset, member.configuration)}
        needed |= {array_configuration(preset, following)} if following else set()
        after = [f"preprocess_{model.dataset_id:03d}_{model.plans}_{configuration}" for configuration in sorted(needed)]
        after = [name for name in self.names if name in after]
        after += [name for other in readings(self.recipe, key) for name in self.trained(other)]
        flags = (*member.flags, *(("-num_gpus", str(self.run.num_gpus)) if self.run.num_gpus > 1 else ()))
        flags += ("-device", self.run.device) if self.run.device != "cuda" else ()
        words = ("-p", model.plans, "-tr", model.trainer, *flags)
        for fold, name in zip(self.folds(key), self.trained(key), strict=True):
            command = ("nnUNetv2_train", str(model.dataset_id), model.configuration, str(fold), *words)
            self.add(name, "train", command, after)

    # results

    def finish(self) -> None:
        """Predict, postprocess, score, measure, report."""
        recipe, raw = self.recipe, self.run.raw / dataset_of(self.recipe)
        predicted = f"{self.folder}/predicted"
        trained = [name for key in recipe.predicting for name in self.trained(key)]
        last = self.add("predict", "predict", self.prediction(predicted), trained)
        if recipe.postprocessing is not None:
            done = f"{self.folder}/postprocessed"
            how: Command = ("--chain", recipe.postprocessing)
            if recipe.postprocessing == DETERMINE:
                how = ("--determine", "--predictions", predicted, "--references", str(raw / "labelsTr"))
                how += ("--year", recipe.release, "--splits", str(raw / "splits_final.json"))
            words: Command = (predicted, done, *how)
            last, predicted = (
                self.add("postprocess", "postprocess", ("nnunet_kits", "postprocess", *words), [last]),
                done,
            )
        for key in recipe.evaluation.alone:
            words = ("--model", str(self.model(key).path), "-o", f"{self.folder}/members/{key}")
            self.add(f"evaluate_{key}", "evaluate", ("nnunet_kits", "evaluate", *words), self.trained(key))
        judge = str(self.model(list(recipe.predicting)[-1]).path)
        words = (predicted, "--model", judge, "-o", f"{self.folder}/evaluation")
        scored = self.add("evaluate", "evaluate", ("nnunet_kits", "evaluate", *words), [last])
        images = ("--images", str(raw / "imagesTr"))
        words = (predicted, *images, "-o", f"{self.folder}/measures")
        measured = self.add("measure", "measure", ("nnunet_kits", "measure", *words), [last])
        words = (*images, "--predictions", predicted, "--references", str(raw / "labelsTr"))
        words += tuple(word for key in recipe.predicting for word in ("--model", str(self.model(key).path)))
        words += ("--year", recipe.release, "--title", recipe.name, "-o", f"{self.folder}/report.html")
        self.add("report", "report", ("nnunet_kits", "report", *words), [scored, measured])

    def prediction(self, output: str) -> Command:
        """The command that predicts the cases that are scored."""
        recipe, evaluation = self.recipe, self.recipe.evaluation
        folds = self.run.folds if evaluation.folds is None else evaluation.folds
        if self.run.folds is not None and folds is not None:
            folds = tuple(fold for fold in folds if fold in self.run.folds)
        cases = ("held_out",) if evaluation.cases == "held_out" else tuple(map(str, folds or ()))
        command: Command = ("nnunet_kits", "predict", "--fold-cases", *cases, "-o", output)
        if recipe.inference.system is None:
            for key, members in recipe.inference.models.items():
                command += (f"--{key}", *(str(self.model(member).path) for member in members))
        else:
            command += ("--system", recipe.inference.system)
            for key, members in recipe.inference.models.items():
                command += tuple(word for m in members for word in ("--model", f"{key}={self.model(m).path}"))
        checkpoint = next(iter(recipe.predicting.values())).checkpoint
        command += ("--checkpoint", checkpoint) if checkpoint != FINAL else ()
        return (*command, *self.device)


def array_configuration(preset: Preset, configuration: str) -> str:
    """The configuration whose arrays one is trained on: itself, or what it inherits from."""
    while "inherits_from" in preset.configurations[configuration]:
        configuration = preset.configurations[configuration]["inherits_from"]
    return configuration


def _name(model: ModelFolder) -> str:
    """A model in the name of a step."""
    return f"{model.dataset_id:03d}_{model.plans}_{model.configuration}_{model.trainer}"
