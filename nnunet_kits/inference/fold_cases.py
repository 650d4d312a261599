"""Which cases a fold validates, so that each is predicted by models that were not trained on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunet_kits.cases.finding import find_scans
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
from nnunet_kits.errors import InferenceError


@dataclass(frozen=True)
class FoldCases:
    """Scans that are predicted by the same folds.

    Attributes:
        folds: of every model; None for all that are trained.
        scans: case -> CT.
    """

    folds: tuple[str, ...] | None
    scans: dict[str, Path]


def fold_cases(
    models: Sequence[Path], wanted: Sequence[str] = (), images: Path | None = None, by_source: bool = False
) -> list[FoldCases]:
    """The scans of the cases that folds validate, fold by fold.

    Args:
        models: folders; the first one's dataset says which folds and cases there are.
        wanted: numbers of folds, or :data:`~nnunet_kits.cases.splits.HELD_OUT` for the cases that no fold trains or
            validates, by all folds; empty for every fold of the dataset.
        images: folder of CTs; None for the dataset's imagesTr.
        by_source: for a derived dataset take the images that it was derived from.

    Raises:
        InferenceError: no splits, no such fold, a case without CT, or one that a model was trained on.
        ImageError: no such folder of CTs, or two of one case.
    """
    splits = {model: _splits(model) for model in models}
    own = splits[models[0]]
    scans = find_scans(images or _images(models[0], by_source))
    groups = []
    for fold in wanted or map(str, range(len(own))):
        if fold != HELD_OUT and not (fold.isdecimal() and int(fold) < len(own)):
            raise InferenceError(
                f"--fold-cases {fold}: {models[0].parent.name} has folds 0 to {len(own) - 1}, and {HELD_OUT}."
            )
        cases = held_out(own, scans) if fold == HELD_OUT else own[int(fold)]["val"]
        if lacking := [case for case in cases if case not in scans]:
            raise InferenceError(f"fold {fold}: no CT of {listed(lacking)}. Name the folder with all of them with -i.")
        if not cases:
            raise InferenceError(f"--fold-cases {fold}: {models[0].parent.name} holds no case out of its folds.")
        for model, given in splits.items():
            trained = _trained(given, fold)
            if leaked := [case for case in cases if case in trained]:
                raise InferenceError(
                    f"{model}: fold {fold} was trained on {listed(leaked)}, so predicting that would prove nothing. "
                    "Train all models by the same splits."
                )
        groups.append(FoldCases(None if fold == HELD_OUT else (fold,), {case: scans[case] for case in cases}))
    return groups


def _trained(splits: Sequence[Split], fold: str) -> set[str]:
    """The cases that a fold trains; for held-out cases, those that any fold trains or validates."""
    if fold == HELD_OUT:
        return {case for split in splits for part in split.values() for case in part}
    return set(splits[int(fold)]["train"]) if int(fold) < len(splits) else set()


def _splits(model: Path) -> list[Split]:
    found = splits_of_model(model, InferenceError)
    if found is None:
        raise InferenceError(
            f"{model.resolve().parent.name}: its {SPLITS_FILE} is not found, so nobody knows which cases a fold "
            "validates. Set nnUNet_preprocessed or nnUNet_raw."
        )
    return found


def _images(model: Path, by_source: bool) -> Path:
    """The folder of CTs that a model's dataset has, or was derived from."""
    source = source_of_model(model, InferenceError) if by_source else None
    if source is not None:
        return source / "imagesTr"
    found = [place for place in beside_training(model, "imagesTr") if place.is_dir()]
    if not found:
        raise InferenceError(
            f"{model.resolve().parent.name}: its imagesTr is not found. Set nnUNet_raw, or name the CTs with -i."
        )
    return found[0]
