"""What a recipe file may hold: a system's data, models, prediction and scores, each by the name of what exists.

A recipe names presets, rules, trainers, systems and chains, and adds how they hang together.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nnunet_kits.model_folder import BEST
from nnunet_kits.releases import RELEASES, either

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+(_[A-Za-z0-9]+)*$")]
"""A name that can be part of a file's."""


def _known_year(year: str) -> str:
    if year not in RELEASES:
        raise ValueError(f"must be {either([repr(known) for known in RELEASES])}")
    return year


Year = Annotated[str, AfterValidator(_known_year)]
"""A release, two digits."""

CaseNumber = Annotated[str, Field(pattern=r"^((case_)?\d+|known-bad)$")]

DETERMINE = "determine"
"""What ``postprocessing`` says where the chain is chosen by cross-validation."""


class Table(BaseModel):
    """A table of a recipe: nothing in it can be changed, and no key is taken that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Phantoms(Table):
    """Synthetic CTs in place of a KiTS folder.

    Attributes:
        cases: labelled training cases.
        size: of the phantoms.
        seed: another seed gives other patients.
    """

    cases: int = Field(ge=4)
    size: Literal["tiny", "small", "full"] = "small"
    seed: int = 0


class Conversion(Table):
    """How the KiTS folder becomes a dataset: options of ``nnunet_kits convert``.

    Attributes:
        dataset_id: number of the dataset; None for the release's own.
        name: what follows ``DatasetNNN_``; None for the release's own.
        labels: ``classes``, or the challenge's ``regions``.
        aggregation: of KiTS21's annotators.
        folds: how many, by number.
        splits: how cases are split.
        hold_out: share or file of the cases that no fold gets.
        exclude: cases to leave out.
    """

    dataset_id: int | None = Field(default=None, ge=1, le=999)
    name: str | None = None
    labels: Literal["classes", "regions"] = "classes"
    aggregation: str | None = None
    folds: int = Field(default=5, ge=2)
    splits: str = "by_number"
    hold_out: str | None = None
    exclude: tuple[CaseNumber, ...] = ()


class Masks(Table):
    """What a derived dataset is cropped to or multiplied by.

    Attributes:
        by: ``reference``: each case's own labels; ``validation``: of each case what the fold of ``member`` found that
            was not trained on it; ``prediction``: what all trained folds of it find.
        member: of an earlier stage.
        whole_volume_if_empty: take the whole scan of a case in which nothing was found.
    """

    by: Literal["reference", "validation", "prediction"]
    member: str | None = None
    whole_volume_if_empty: bool = False


class Derive(Table):
    """The dataset that a member is trained on, made of the recipe's.

    Attributes:
        dataset_id: its number.
        name: what follows ``DatasetNNN_``; None for the source's name and the rule's.
        rule: a rule of derivation.
        masks: for a rule that needs some.
    """

    dataset_id: int = Field(ge=1, le=999)
    name: str | None = None
    rule: str
    masks: Masks | None = None


class Member(Table):
    """A model that is trained.

    Attributes:
        plans: a preset.
        configuration: of the preset.
        trainer: name of the trainer.
        derive: its dataset; None for the recipe's.
        folds: those that are trained; None for all that the splits have.
        checkpoint: with which it predicts.
    """

    plans: str
    configuration: str
    trainer: str
    derive: Derive | None = None
    folds: tuple[int, ...] | None = None
    checkpoint: Literal["checkpoint_final.pth", "checkpoint_best.pth"] = "checkpoint_final.pth"

    @property
    def flags(self) -> tuple[str, ...]:
        """What its training is told so that its validation is made with its checkpoint."""
        return ("--val_best",) if self.checkpoint == BEST else ()


class Stage(Table):
    """Members that need nothing of each other.

    Attributes:
        name: of the stage.
        members: key -> member; a key is used once in a recipe.
    """

    name: Key
    members: dict[Key, Member] = Field(min_length=1)


class Inference(Table):
    """What predicts.

    Attributes:
        system: of ``nnunet_kits predict --system``; None for coarse to fine with ``fine`` and, if wanted, ``coarse``.
        models: the system's key -> members that are averaged there.
    """

    system: str | None = None
    models: dict[str, tuple[str, ...]] = Field(min_length=1)


class Evaluation(Table):
    """Which cases are predicted and scored.

    Attributes:
        cases: ``folds``: those that folds validate, each by the fold that was not trained on it; ``held_out``: those
            in no fold, by all folds.
        folds: of ``folds``; None for all.
        alone: members whose own validation is scored, too.
    """

    cases: Literal["folds", "held_out"] = "folds"
    folds: tuple[int, ...] | None = None
    alone: tuple[str, ...] = ()


class Reported(Table):
    """Scores that a source states.

    Attributes:
        what: which of its systems, on what.
        member: whose they are; None for the whole system's.
        mean_of: what each is a mean of.
        scores: kind (``dice``) -> class (``tumor``) -> value.
    """

    what: str
    member: str | None = None
    mean_of: str
    scores: dict[str, dict[str, float]]


class Recipe(Table):
    """A whole system.

    Attributes:
        name: the file's name without ``.json``.
        summary: one sentence.
        source: a paper, a repository, or ``ours``.
        deviations: what the source does not say, or what is otherwise here.
        reported: scores of the source.
        release: KiTS year.
        phantoms: made in place of data; None where a KiTS folder is given.
        conversion: of the data.
        stages: in order.
        inference: what predicts.
        postprocessing: a chain, ``determine`` to choose one by cross-validation, or None.
        evaluation: which cases are scored.
    """

    name: str
    summary: str
    source: str
    deviations: tuple[str, ...]
    reported: tuple[Reported, ...] = ()
    release: Year
    phantoms: Phantoms | None = None
    conversion: Conversion = Conversion()
    stages: tuple[Stage, ...] = Field(min_length=1)
    inference: Inference
    postprocessing: str | None = None
    evaluation: Evaluation = Evaluation()

    def stage_of(self, key: str) -> int:
        """Number of the stage that a member is in."""
        return next(number for number, stage in enumerate(self.stages) if key in stage.members)

    @property
    def members(self) -> dict[str, Member]:
        """Key -> member, of all stages in order."""
        return {key: member for stage in self.stages for key, member in stage.members.items()}

    @property
    def predicting(self) -> dict[str, Member]:
        """The members that take part in the prediction, in the order of the system's keys."""
        members = self.members
        return {key: members[key] for keys in self.inference.models.values() for key in keys}
