"""What was scored of a system: its ``metrics.json``, found in the folder of a run, of a model or of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunet_kits.cases.records import read_record
from nnunet_kits.errors import EvaluationError
from nnunet_kits.model_folder import ModelFolder

FILE = "metrics.json"
RUN_FILE = "steps.json"
"""Is in the folder of a recipe's run."""

SAME_VOLUME = 1e-6
"""Relative difference below which volumes are the same: spacings are stored in single precision."""


@dataclass(frozen=True)
class Scored:
    """The scores of one system.

    Attributes:
        name: what it is called.
        cases: case -> scores.
        how: year and tolerances.
        folds: fold -> its cases; empty where it was not scored by folds.
    """

    name: str
    cases: Mapping[str, Mapping[str, Any]]
    how: Mapping[str, Any]
    folds: Mapping[str, Sequence[str]] = field(default_factory=dict)


def is_cross_validation(path: Path) -> bool:
    """Whether a path names a run, a model or a ``metrics.json``, and not a folder with an ``evaluation.csv``."""
    return path.suffix == ".json" or (path / RUN_FILE).is_file() or _is_model(path)


def read_scored(path: Path) -> Scored:
    """Read what was scored of a system.

    Args:
        path: a ``metrics.json``, or a folder that has one: of an evaluation, a model, or a recipe's run.

    Raises:
        EvaluationError: there is none, or it is none.
    """
    whole = path.resolve()
    within = whole / "evaluation" if (whole / RUN_FILE).is_file() or _is_model(whole) else whole
    file = whole if path.suffix == ".json" else within / FILE
    if not file.is_file():
        what = "nnunet_kits evaluate --model" if _is_model(whole) else "nnunet_kits evaluate"
        raise EvaluationError(f"{path}: there is no {file}. {what} writes it.")
    content = read_record(file) or {}
    cases = content.get("cases")
    if not isinstance(cases, dict) or not cases or not all(_is_case(scores) for scores in cases.values()):
        raise EvaluationError(f"{file}: not a {FILE} of nnunet_kits evaluate. Evaluate again.")
    folder = file.parent if file.parent.name != "evaluation" else file.parent.parent
    how = {key: content.get(key) for key in ("year", "tolerances_mm")}
    folds = content.get("folds")
    return Scored(folder.name, cases, how, folds if isinstance(folds, dict) else {})


def check_same(first: Scored, second: Scored, cases: Sequence[str]) -> None:
    """Refuse systems that were scored by other rules, or against other references.

    Scores hold no checksum of a reference, but the volumes of all its labels and of each of its tumours; where these
    are the same, the references are taken for the same.

    Raises:
        EvaluationError: no case in common, other tolerances, or volumes that differ, by name of the case.
    """
    if not cases:
        raise EvaluationError(
            f"{first.name} and {second.name} have no case in common: {next(iter(first.cases))} and "
            f"{next(iter(second.cases))}, for example. Compare evaluations of the same cases."
        )
    if first.how != second.how:
        raise EvaluationError(
            f"{first.name} and {second.name} were scored by different rules: {_rules(first)}, and {_rules(second)}. "
            "Evaluate both with the same --year and --tolerances-mm."
        )
    for case in cases:
        ours, theirs = _volumes(first.cases[case]), _volumes(second.cases[case])
        for what in ours:
            if what in theirs and not _is_close(ours[what], theirs[what]):
                told = " and ".join(
                    ", ".join(f"{ml:.4f}" for ml in them) or "none" for them in (ours[what], theirs[what])
                )
                raise EvaluationError(
                    f"{case}: its reference is not the same for {first.name} and {second.name}: {what} of {told} mL. "
                    "Evaluate both against the same references."
                )


def _volumes(scores: Mapping[str, Any]) -> dict[str, list[float]]:
    """Volumes of the reference in mL: of each label, and of the single tumours."""
    found = {label: [float(true)] for label, (_, true) in scores.get("volume_ml", {}).items()}
    if "tumors" in scores:
        found["single tumors"] = [float(tumor["volume_ml"]) for tumor in scores["tumors"]["reference"]]
    return found


def _is_close(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    same = (math.isclose(a, b, rel_tol=SAME_VOLUME) for a, b in zip(ours, theirs, strict=False))
    return len(ours) == len(theirs) and all(same)


def _rules(scored: Scored) -> str:
    tolerances = scored.how["tolerances_mm"] or {}
    return f"KiTS{scored.how['year']}, tolerances of {', '.join(f'{t:g}' for t in tolerances.values()) or 'no'} mm"


def _is_case(scores: Any) -> bool:
    """Whether these are the scores of a case, as far as they are compared."""
    try:
        numbers = [*scores["dice"].values(), *scores["surface_dice"].values()]
        numbers += [ml for pair in scores.get("volume_ml", {}).values() for ml in pair]
        tumors = scores.get("tumors", {"reference": [], "false_positives": []})
        numbers += [number for tumor in tumors["reference"] for number in (tumor["volume_ml"], tumor["detected"])]
        numbers += tumors["false_positives"]
        pairs = all(len(pair) == 2 for pair in scores.get("volume_ml", {}).values())
    except (AttributeError, KeyError, TypeError):
        return False
    return bool(scores["dice"]) and pairs and all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)


def _is_model(path: Path) -> bool:
    return ModelFolder.at(path) is not None and (path / "dataset.json").is_file()
