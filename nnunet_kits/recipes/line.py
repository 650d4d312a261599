"""The steps of a run as they are put together: each once, by its name."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nnunet_kits.model_folder import ModelFolder
from nnunet_kits.recipes.names import fold_count, model_of, number_of
from nnunet_kits.recipes.reading import read_members
from nnunet_kits.recipes.recipe import Member, Recipe
from nnunet_kits.recipes.resources import Needs
from nnunet_kits.recipes.steps import Resources, RunSettings, Step

Words = tuple[str, ...]
"""Of a command."""


@dataclass(frozen=True)
class Line:
    """The steps so far.

    Attributes:
        recipe: that is run.
        run: where and how.
        steps: in the order in which they may be typed.
    """

    recipe: Recipe
    run: RunSettings
    steps: list[Step] = field(default_factory=list)

    def add(self, step: Step) -> str:
        """Add a step, unless it is there; its name."""
        if step.name not in self.names:
            self.steps.append(step)
        return step.name

    def kits(self, name: str, verb: str, words: Sequence[str], after: Sequence[str], needs: Resources) -> str:
        """Add a command of our own; its name."""
        return self.add(Step(name, verb, ("nnunet_kits", verb, *words), tuple(dict.fromkeys(after)), needs))

    @property
    def names(self) -> list[str]:
        """Of the steps so far."""
        return [step.name for step in self.steps]

    @property
    def needs(self) -> Needs:
        """What steps need."""
        return Needs(self.recipe, self.run)

    @property
    def folder(self) -> str:
        """What is this recipe's alone."""
        return str(self.run.folder(self.recipe.name))

    @property
    def device(self) -> Words:
        """The option of our commands."""
        return () if self.run.device == "cuda" else ("--device", self.run.device)

    def of(self, verb: str, dataset: str) -> list[str]:
        """Names of the steps so far of a verb and a dataset."""
        begin = f"{verb}_{number_of(dataset):03d}"
        return [name for name in self.names if name == begin or name.startswith(f"{begin}_")]

    def member(self, key: str) -> Member:
        """A member by its key."""
        return self.recipe.members[key]

    def model(self, key: str) -> ModelFolder:
        """Where a member's training leaves it."""
        return model_of(self.recipe, self.member(key), self.run)

    def folds(self, key: str) -> tuple[int, ...]:
        """Those of a member that are trained: what other members read, whole."""
        given = self.member(key).folds
        own = tuple(range(fold_count(self.recipe))) if given is None else given
        if self.run.folds is None or key in read_members(self.recipe):
            return own
        return tuple(fold for fold in own if fold in self.run.folds)

    def trained(self, key: str) -> list[str]:
        """Names of the steps that train a member."""
        return [f"train_{name_of(self.model(key))}_fold{fold}" for fold in self.folds(key)]


def name_of(model: ModelFolder) -> str:
    """A model in the names of steps."""
    return f"{model.dataset_id:03d}_{model.plans}_{model.configuration}_{model.trainer}"
