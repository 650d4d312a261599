"""Systems: several models one after the other and beside each other, as JSON.

A system is a file ``{"summary", "source", "deviations", "labels", "stages", "postprocessing"}``; the shipped ones are
in ``systems/``. Every key, name and value is checked when a system is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nnunet_kits.errors import InferenceError, KitsError
from nnunet_kits.inference.tiling import Windows
from nnunet_kits.labels import Label
from nnunet_kits.postprocessing.pipeline import load_chain
from nnunet_kits.preparation import Preparation
from nnunet_kits.shipped import read_shipped, shipped_names

SYSTEMS_FOLDER = Path(__file__).parent / "systems"

KEYS = ("summary", "source", "deviations", "labels", "stages", "postprocessing")
STAGE_KEYS = ("name", "of", "prepare", "members", "windows", "join", "reads")
MEMBER_KEYS = ("labels", "folds")
JOIN_KEYS = ("rule", "mask", "labels")


@dataclass(frozen=True)
class Member:
    """A model's place in a stage.

    Attributes:
        key: what a user names its folder by: ``--model KEY=FOLDER``; several folders of one key are averaged.
        labels: of the system, that its model must know.
        folds: of the model; None for all that are trained.
    """

    key: str
    labels: tuple[str, ...]
    folds: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Join:
    """What becomes of the members' answers.

    Attributes:
        rule: ``average``: of the probabilities, all members have the same labels; ``inside``: where ``mask`` has a
            label, that of ``labels``, or the mask's where it has none; nothing outside.
        mask: of ``inside``: a member, or an earlier stage.
        labels: of ``inside``: a member.
    """

    rule: Literal["average", "inside"] = "average"
    mask: str | None = None
    labels: str | None = None


@dataclass(frozen=True)
class Stage:
    """One step: the scan is prepared, some models look at all of that, and their answers are joined.

    Attributes:
        name: of the stage.
        of: the earlier stage whose label map is the mask of ``prepare``; None where that needs none.
        prepare: what is done to the scan, as in the dataset that the models were trained on.
        members: the models.
        windows: how their networks are led over the prepared scan.
        join: of their answers.
        reads: the earlier stage whose label map the second stage of a cascade reads; None for other models.
    """

    name: str
    of: str | None
    prepare: Preparation
    members: tuple[Member, ...]
    windows: Windows
    join: Join
    reads: str | None


@dataclass(frozen=True)
class System:
    """Stages in order; the last one's label map is the result.

    Attributes:
        name: the file's name without ``.json``.
        summary: one sentence.
        source: a paper, a repository, or ``ours``.
        deviations: what the source does not say, or what was changed.
        labels: of the label map: name and value.
        stages: at least one.
        postprocessing: a chain of ``nnunet_kits postprocess`` for the result; None for none.
    """

    name: str
    summary: str
    source: str
    deviations: tuple[str, ...]
    labels: tuple[tuple[str, int], ...]
    stages: tuple[Stage, ...]
    postprocessing: str | None

    @property
    def members(self) -> tuple[Member, ...]:
        """Of all stages, in order."""
        return tuple(member for stage in self.stages for member in stage.members)

    @property
    def keys(self) -> list[str]:
        """The keys of all models, in order, each once."""
        return list(dict.fromkeys(member.key for member in self.members))

    def with_windows(self, **changes: Any) -> "System":
        """The same with something else about the windows of every stage; what is None stays.

        Raises:
            InferenceError: a value that is not allowed.
        """
        given = {key: value for key, value in changes.items() if value is not None}
        stages = tuple(replace(stage, windows=replace(stage.windows, **given)) for stage in self.stages)
        return replace(self, stages=stages)


def system_names() -> list[str]:
    """Names of the shipped systems."""
    return shipped_names(SYSTEMS_FOLDER)


def load_system(name_or_file: str) -> System:
    """A shipped system by its name, or one from a JSON file.

    Raises:
        InferenceError: no such system, or a file that is none; the message names the key and what is allowed.
    """
    path, content = read_shipped(name_or_file, SYSTEMS_FOLDER, "system", InferenceError)
    return parse_system(path.stem, content, str(path))


def parse_system(name: str, content: Any, where: str) -> System:
    """A system from what its file holds.

    Args:
        name: of the system.
        content: as read from JSON.
        where: what holds it, for messages.

    Raises:
        InferenceError: an unknown or missing key, or a value that is not allowed.
    """
    _check_keys(content, KEYS, KEYS, where)
    labels = content["labels"]
    if not isinstance(labels, dict) or not labels or not all(_is_label(value) for value in labels.values()):
        raise InferenceError(f'{where}: labels is {labels!r}, not names and values from 1 to 255: {{"kidney": 1}}.')
    if len(set(labels.values())) < len(labels):
        raise InferenceError(f"{where}: labels is {labels!r}: two labels have one value.")
    for key in ("deviations", "stages"):
        if not isinstance(content[key], list):
            raise InferenceError(f"{where}: {key} is {content[key]!r}, not a list.")
    if not content["stages"]:
        raise InferenceError(f"{where}: stages is empty; a system has at least one.")
    stages: list[Stage] = []
    for number, stage in enumerate(content["stages"], 1):
        stages.append(_parse_stage(stage, stages, labels, f"{where}, stage {number}"))
    chain = content["postprocessing"]
    if chain is not None:
        _check_chain(chain, labels, where)
    told = (str(content["summary"]), str(content["source"]), tuple(map(str, content["deviations"])))
    return System(name, *told, tuple(labels.items()), tuple(stages), chain)


def _parse_stage(content: Any, earlier: Sequence[Stage], labels: Mapping[str, int], where: str) -> Stage:
    """A stage from its JSON object; ``earlier`` are those before it."""
    _check_keys(content, STAGE_KEYS, ("name", "members"), where)
    name, names = content["name"], [stage.name for stage in earlier]
    if not isinstance(name, str) or not name or name in names:
        raise InferenceError(f"{where}: name is {name!r}; every stage has one of its own.")
    where = f"{where} ({name})"
    of, reads = content.get("of"), content.get("reads")
    for key, value in (("of", of), ("reads", reads)):
        if value is not None and value not in names:
            raise InferenceError(f"{where}: {key} is {value!r}, not a stage before this one: {_list(names)}.")
    try:
        prepare = Preparation.from_json(content.get("prepare"), f"{where}, prepare")
    except KitsError as error:
        raise InferenceError(str(error)) from error
    if prepare.needs_mask != (of is not None):
        raise InferenceError(
            f"{where}: a preparation with a region or a mask, and no other, says in of whose label map that is."
        )
    given = content["members"]
    if not isinstance(given, dict) or not given:
        raise InferenceError(
            f'{where}: members is {given!r}, not keys of models and their labels: {{"fine": {{...}}}}.'
        )
    members = tuple(_parse_member(key, value, labels, f"{where}, member {key}") for key, value in given.items())
    windows = Windows.from_json(content.get("windows", {}), f"{where}, windows")
    join = _parse_join(content.get("join", {"rule": "average"}), list(given), names, f"{where}, join")
    return Stage(name, of, prepare, members, windows, join, reads)


def _parse_member(key: str, content: Any, labels: Mapping[str, int], where: str) -> Member:
    _check_keys(content, MEMBER_KEYS, ("labels",), where)
    known, folds = content["labels"], content.get("folds")
    if not isinstance(known, list) or not known or not set(map(str, known)) <= set(labels):
        raise InferenceError(f"{where}: labels is {known!r}; of the system's labels {_list(labels)} at least one.")
    if folds is not None and (not isinstance(folds, list) or not folds):
        raise InferenceError(f'{where}: folds is {folds!r}, not a list such as ["0", "1"], or null for all.')
    if not key or "=" in key:
        raise InferenceError(f"{where}: a key is not empty and holds no =, because --model KEY=FOLDER names it.")
    return Member(key, tuple(known), None if folds is None else tuple(map(str, folds)))


def _parse_join(content: Any, members: Sequence[str], stages: Sequence[str], where: str) -> Join:
    _check_keys(content, JOIN_KEYS, ("rule",), where)
    rule, mask, labels = content["rule"], content.get("mask"), content.get("labels")
    if rule == "average" and mask is None and labels is None:
        return Join()
    if rule != "inside":
        raise InferenceError(f"{where}: {content!r}: the rule is average, alone, or inside with mask and labels.")
    if labels not in members or mask == labels or mask not in {*members, *stages}:
        raise InferenceError(
            f"{where}: labels is {labels!r} and mask is {mask!r}; labels is one of the members {_list(members)}, mask "
            f"another of them or one of the stages before this one: {_list(stages)}."
        )
    if set(members) != {labels, mask} & set(members):
        raise InferenceError(f"{where}: the members are {_list(members)}, but only mask and labels take part.")
    return Join("inside", mask, labels)


def _check_keys(content: Any, allowed: Sequence[str], needed: Sequence[str], where: str) -> None:
    """Refuse what is no JSON object, or has a key too many or too few."""
    if not isinstance(content, dict):
        raise InferenceError(f"{where}: is {content!r}, not an object with {_list(allowed)}.")
    unknown, missing = [key for key in content if key not in allowed], [key for key in needed if key not in content]
    if unknown or missing:
        wrong = f"unknown: {_list(unknown)}" if unknown else f"missing: {_list(missing)}"
        raise InferenceError(f"{where}: {wrong}. The keys are {_list(allowed)}.")


def _check_chain(chain: Any, labels: Mapping[str, int], where: str) -> None:
    """Refuse a chain that is not there, or that would read the labels otherwise."""
    ours = {label.name.lower(): int(label) for label in Label}
    other = [name for name, value in labels.items() if ours.get(name) != value]
    if other:
        raise InferenceError(
            f"{where}: postprocessing reads KiTS labels ({ours}), but {_list(other)} is another. Use null."
        )
    try:
        load_chain(str(chain))
    except KitsError as error:
        raise InferenceError(f"{where}: postprocessing: {error}") from error


def _is_label(value: Any) -> bool:
    return type(value) is int and 1 <= value <= 255


def _list(names: Any) -> str:
    return ", ".join(map(str, names)) or "none"
