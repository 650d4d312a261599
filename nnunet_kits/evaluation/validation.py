"""What of a trained model can be scored fold by fold: its folds' validation, or predictions of the folds' cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_kits.cases.finding import find_label_maps
from nnunet_kits.cases.splits import (
    HELD_OUT,
    SPLITS_FILE,
    Split,
    beside_training,
    held_out,
    listed,
    source_of_model,
    splits_of_model,
)
from nnunet_kits.errors import EvaluationError
from nnunet_kits.images import read_grid
from nnunet_kits.model_folder import fold_folders
from nnunet_kits.nnunet_files import read_dataset_json

Files = dict[str, Path]
"""Case -> label map."""


@dataclass(frozen=True)
class Validation:
    """What is to be scored.

    Attributes:
        groups: fold (``fold_0``), or :data:`~nnunet_kits.cases.splits.HELD_OUT` -> its label maps.
        references: of the dataset.
        dataset_json: content of the model's, and over it of the predictions' own.
        truth_of_year: whether the references hold a year's own labels: where the predictions have others than the
            model's dataset, they are a system's, for whole CTs.
        notes: what the user should know: folds that are missing, not whole, or left out.
    """

    groups: dict[str, Files]
    references: Files
    dataset_json: Mapping[str, Any]
    truth_of_year: bool
    notes: list[str]

    @property
    def folds(self) -> list[str]:
        """The groups that are folds."""
        return [group for group in self.groups if group != HELD_OUT]


def find_validation(
    model: Path, predictions: Path | None = None, references: Path | None = None, partly: bool = False
) -> Validation:
    """The label maps of a model's folds, and their references.

    Args:
        model: ``nnUNet_results/DatasetNNN_Name/<trainer>__<plans>__<configuration>``, of any nnU-Net trainer.
        predictions: a folder with label maps of the folds' cases, of the held-out cases, or of both; None for what
            training left in ``fold_*/validation``.
        references: label maps of the same names; None for the dataset's own, found by nnU-Net's variables, or those
            that it was derived from, where ``predictions`` lie on their grid.
        partly: score folds of which cases are missing.

    Raises:
        EvaluationError: no model, no fold, no reference, or a fold that is not whole or not of these splits.
    """
    content = _dataset_json(model)
    given = None if predictions is None else find_label_maps(predictions)
    own = content.get("labels")
    if predictions is not None and (predictions / "dataset.json").is_file():  # a system's labels need not be a model's
        content |= _dataset_json(predictions)
    of_dataset = content.get("labels") == own
    truth = _references(model, references, given or {}, of_dataset)
    splits = splits_of_model(model, EvaluationError)
    notes: list[str] = []
    if given is None:
        groups = _trained_folds(model, splits, notes)
    else:
        groups = _sorted_into_folds(model, given, splits, list(truth))
    expected = {} if splits is None else {f"fold_{fold}": split["val"] for fold, split in enumerate(splits)}
    if splits is None:
        notes.append(f"no {SPLITS_FILE} of {model.resolve().parent.name}, so whether the folds are whole is not known.")
    elif HELD_OUT in groups:
        expected[HELD_OUT] = held_out(splits, truth)
    notes += _check_whole(groups, expected, partly)
    missing = [fold for fold in expected if fold not in groups]
    if missing and set(groups) != {HELD_OUT}:
        there = len([group for group in groups if group in expected and group != HELD_OUT])
        notes.append(f"nothing of {', '.join(missing)}: the means are over {there} of {there + len(missing)} folds.")
    without = [case for files in groups.values() for case in files if case not in truth]
    if without:
        raise EvaluationError(
            f"no reference of {listed(without)}. Name the folder with the references by --references."
        )
    return Validation(groups, truth, content, not of_dataset, notes)


def _dataset_json(model: Path) -> dict[str, Any]:
    return read_dataset_json(
        model / "dataset.json",
        EvaluationError,
        "Name the folder <trainer>__<plans>__<configuration> of a trained model, below nnUNet_results/<dataset>.",
    )


def _references(model: Path, references: Path | None, predictions: Files, of_dataset: bool) -> Files:
    """What is asked for, else the dataset's; of a derived one its source's, where these are what was predicted.

    Args:
        model: folder.
        references: asked for.
        predictions: label maps, none for those of the training.
        of_dataset: whether the predictions have the labels of the model's dataset.
    """
    if references is not None:
        return find_label_maps(references)
    place = next((place for place in beside_training(model, "labelsTr", "gt_segmentations") if place.is_dir()), None)
    found = {} if place is None else find_label_maps(place)
    source = source_of_model(model, EvaluationError) if predictions else None
    if source is not None and not (of_dataset and _on_one_grid(predictions, found)) and (source / "labelsTr").is_dir():
        truth = find_label_maps(source / "labelsTr")
        if _on_one_grid(predictions, truth):
            return truth
    if not found:
        raise EvaluationError(
            f"{model.resolve().parent.name}: its labelsTr is not found. Set nnUNet_raw, or name the folder with the "
            "references by --references."
        )
    return found


def _on_one_grid(predictions: Files, references: Files) -> bool:
    """Whether the first prediction that has a reference lies on its grid."""
    case = next((case for case in predictions if case in references), None)
    return case is not None and read_grid(predictions[case]).is_same(read_grid(references[case]))


def _trained_folds(model: Path, splits: Sequence[Split] | None, notes: list[str]) -> dict[str, Files]:
    """What the folds' final validation has written."""
    groups = {}
    for fold, folder in fold_folders(model).items():
        validation = folder / "validation"
        if not validation.is_dir() or not any(validation.glob("*.nii*")):
            continue
        if not fold.isdecimal():
            reason = "it validates the cases that it was trained on" if fold == "all" else "it is no fold of nnU-Net's"
            notes.append(f"fold_{fold} is left out: {reason}.")
        else:
            groups[f"fold_{fold}"] = find_label_maps(validation)
            if splits is not None and int(fold) >= len(splits):
                notes.append(
                    f"fold_{fold} is not in {SPLITS_FILE}: nnU-Net drew it, so it may share cases with others."
                )
    if not groups:
        raise EvaluationError(
            f"{model}: no fold has label maps in its folder validation. nnUNetv2_train writes them when a fold is "
            "trained; for one that is, run it again with --val."
        )
    return groups


def _sorted_into_folds(
    model: Path, files: Files, splits: Sequence[Split] | None, cases: Sequence[str]
) -> dict[str, Files]:
    """Predictions by the fold that validates their case."""
    if splits is None:
        raise EvaluationError(
            f"{model.resolve().parent.name}: its {SPLITS_FILE} is not found, so nobody knows which fold a prediction "
            "belongs to. Set nnUNet_preprocessed or nnUNet_raw."
        )
    apart = set(held_out(splits, cases))
    groups: dict[str, Files] = {}
    for case, file in files.items():
        folds = [f"fold_{fold}" for fold, split in enumerate(splits) if case in split["val"]]
        if not folds and case not in apart:
            reason = "is trained by every fold" if case in cases else "has no reference"
            raise EvaluationError(f"{file}: {case} {reason}, so there is nothing to score it as. Move it away.")
        for group in folds or [HELD_OUT]:
            groups.setdefault(group, {})[case] = file
    return dict(sorted(groups.items()))


def _check_whole(groups: Mapping[str, Files], expected: Mapping[str, Sequence[str]], partly: bool) -> list[str]:
    """Refuse a group that lacks cases, unless that is allowed and noted, or that has others'."""
    notes = []
    for group, files in groups.items():
        cases = expected.get(group)
        if cases is None:
            continue
        if foreign := [case for case in files if case not in cases]:
            raise EvaluationError(
                f"{group}: {listed(foreign)} is among its label maps, but {SPLITS_FILE} does not validate it there. "
                "The splits have changed since: validate the fold again (nnUNetv2_train ... --val)."
            )
        if lacking := [case for case in cases if case not in files]:
            said = f"{group}: {len(files)} of {len(cases)} cases; {listed(lacking)} missing"
            if not partly:
                raise EvaluationError(f"{said}. Predict the rest, or pass --partly to score what is there.")
            notes.append(f"{said}.")
    return notes
