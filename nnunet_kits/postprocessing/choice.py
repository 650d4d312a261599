"""Which chain to use: the one that raises the score of the cross-validation predictions most, and in every fold."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import PostprocessingError
from nnunet_kits.postprocessing.pipeline import Chain, apply_chain
from nnunet_kits.postprocessing.voxel import Voxel

UNCHANGED = "unchanged"
"""Stands for predictions as they are."""

Scores = Mapping[str, float]
"""Name of a score -> number; their mean is what counts."""


def score_chains(
    labels: NDArray[np.uint8],
    voxel: Voxel | float,
    chains: Sequence[Chain],
    score: Callable[[NDArray[np.uint8]], Scores],
) -> dict[str, dict[str, float]]:
    """Score one prediction as it is and after every chain; equal label maps are scored once.

    Args:
        labels: the prediction.
        voxel: a voxel, or its volume where no chain measures lengths.
        chains: the candidates.
        score: of a label map of the same shape.

    Returns:
        ``unchanged`` and every chain's name -> scores.
    """
    known = [(labels, dict(score(labels)))]
    found = {UNCHANGED: known[0][1]}
    for chain in chains:
        changed, _ = apply_chain(labels, voxel, chain)
        same = next((scores for other, scores in known if np.array_equal(other, changed)), None)
        if same is None:
            same = dict(score(changed))
            known.append((changed, same))
        found[chain.name] = same
    return found


def choose_chain(
    scores: Mapping[str, Mapping[str, Scores]], folds: Mapping[str, Sequence[str]], chains: Sequence[Chain]
) -> tuple[Chain | None, dict[str, Any]]:
    """Choose among chains by the scores of all cases.

    A chain is taken only if it raises the mean score of every fold. Of those that do, the one with the highest mean
    over all cases; of equals, the one with fewer steps.

    Args:
        scores: case -> what :func:`score_chains` returned.
        folds: name -> its cases.
        chains: the candidates.

    Returns:
        The chain, None where none helps; and the record: for every candidate the means before and after, of every fold
        and over all, why it was not chosen, and the choice.

    Raises:
        PostprocessingError: a fold without cases.
    """
    for fold, cases in folds.items():
        if not cases:
            raise PostprocessingError(f"{fold}: this fold has no cases. Leave it out.")
    every = [case for cases in folds.values() for case in cases]
    record: dict[str, Any] = {"before": _means(scores, folds, every, UNCHANGED), "candidates": {}}
    best: tuple[float, int, str] | None = None
    for chain in chains:
        after = _means(scores, folds, every, chain.name)
        gains = {fold: after["folds"][fold]["mean"] - record["before"]["folds"][fold]["mean"] for fold in folds}
        gain = after["all"]["mean"] - record["before"]["all"]["mean"]
        worse = [fold for fold, value in gains.items() if value <= 0]
        record["candidates"][chain.name] = {
            **chain.as_json(),
            "after": after,
            "gain": gain,
            "gain_by_fold": gains,
            "verdict": f"does not raise the mean of {', '.join(worse)}" if worse else "raises the mean of every fold",
        }
        if not worse:
            rank = (-gain, len(chain.steps), chain.name)
            best = rank if best is None else min(best, rank)
    record["chosen"] = None if best is None else best[2]
    return next((chain for chain in chains if best is not None and chain.name == best[2]), None), record


def _means(
    scores: Mapping[str, Mapping[str, Scores]], folds: Mapping[str, Sequence[str]], every: Sequence[str], name: str
) -> dict[str, Any]:
    """Mean of every score over each fold and over all cases, and ``mean``, the mean of the scores."""

    def over(cases: Sequence[str]) -> dict[str, float]:
        columns = scores[cases[0]][name]
        means = {column: float(np.mean([scores[case][name][column] for case in cases])) for column in columns}
        return {**means, "mean": float(np.mean(list(means.values())))}

    return {"all": over(every), "folds": {fold: over(cases) for fold, cases in folds.items()}}
