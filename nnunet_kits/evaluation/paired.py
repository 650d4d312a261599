"""Paired differences of two systems over the same cases: what is certain of their mean, with many cases and few."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnunet_kits.errors import EvaluationError
from nnunet_kits.evaluation.statistics import AT_ONCE, SEED, interval_95, resampled_means

FEWEST = 1000
"""Resamplings of a test."""

FEWEST_FOR_BOOTSTRAP = 20
"""With fewer cases the bootstrap is too sure: it takes the scatter among the cases for that of the population.

For normally distributed differences its 95 % interval misses their mean in 7 % of the times with 20 cases, in 10 % with
10, in 17 % with 5, and more often for skewed ones (see the tests).
Source: Hesterberg 2015, doi:10.1080/00031305.2015.1089789 ("narrowness bias").
"""

EXACT_UP_TO = 16
"""Cases with a difference for which all ways to turn their signs are counted."""

ALPHA = 0.05
"""What is usually called significant."""

ROUNDING = 1e-9
"""Sums that differ by no more, relative to the largest, are equal."""

Row = dict[str, Any]


def paired_rows(
    names: Sequence[str], first: NDArray[np.float64], second: NDArray[np.float64], resamplings: int
) -> dict[str, Row]:
    """Statistics of the differences, second less first, a row for each score.

    Args:
        names: of the scores.
        first: (cases, scores).
        second: the same of another system.
        resamplings: of the bootstrap, and of the sign flips where these are too many to count; 1000 or more.

    Returns:
        Score -> ``cases``; ``first``, ``second``: means over cases; ``difference`` of these; ``interval_95`` of it;
        ``p_bootstrap``, ``p_wilcoxon``, ``p_sign_flip``: two-sided, that there is no difference; ``p_holm``: the last,
        corrected for all scores by :func:`holm`; ``smallest_p``: the least that sign flips can give; ``better``,
        ``equal``, ``worse``: in how many cases the second is.

    Raises:
        EvaluationError: too few resamplings.

    Source: Wilcoxon 1945, doi:10.2307/3001968 (signed ranks; zero differences are left out); for the bootstrap
    :func:`nnunet_kits.evaluation.statistics.resampled_means`.
    """
    if resamplings < FEWEST:
        raise EvaluationError(f"{resamplings} resamplings are too few for a test. Take {FEWEST} or more.")
    differences = np.round(second - first, 12)  # scores have eight decimals, so what is smaller is rounding
    means = resampled_means(differences, resamplings)
    rows = {
        name: {
            "cases": len(differences),
            "first": float(first[:, i].mean()),
            "second": float(second[:, i].mean()),
            "difference": float(differences[:, i].mean()),
            "interval_95": interval_95(means[:, i]),
            "p_bootstrap": _p_bootstrap(means[:, i]),
            "p_wilcoxon": p_wilcoxon(differences[:, i]),
            "p_sign_flip": p_sign_flip(differences[:, i], resamplings),
            "smallest_p": smallest_p(differences[:, i]),
            "better": int((differences[:, i] > 0).sum()),
            "equal": int((differences[:, i] == 0).sum()),
            "worse": int((differences[:, i] < 0).sum()),
        }
        for i, name in enumerate(names)
    }
    correct([rows])
    return rows


def correct(tables: Sequence[dict[str, Row]]) -> None:
    """Set ``p_holm`` of all rows of some tables, as one family of tests."""
    rows = [row for table in tables for row in table.values()]
    for row, p in zip(rows, holm([row["p_sign_flip"] for row in rows]), strict=True):
        row["p_holm"] = p


def p_sign_flip(differences: NDArray[np.float64], resamplings: int) -> float:
    """Two-sided p of the permutation test of paired differences: how rarely random signs give as large a mean.

    Valid with any number of cases, whatever the differences' distribution, if it is symmetric where the systems are
    equal. All signs are counted for up to :data:`EXACT_UP_TO` cases that differ, else they are drawn.

    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    apart = differences[differences != 0]
    if not len(apart):
        return 1.0
    least = abs(apart.sum()) - ROUNDING * np.abs(apart).sum()
    if len(apart) <= EXACT_UP_TO:
        sums = np.zeros(1)
        for difference in apart:
            sums = np.concatenate([sums + difference, sums - difference])
        return float((np.abs(sums) >= least).mean())
    generator = np.random.default_rng(SEED)
    as_large = 0
    for start in range(0, resamplings, AT_ONCE):
        signs = generator.integers(0, 2, (min(AT_ONCE, resamplings - start), len(apart))) * 2 - 1
        as_large += int((np.abs(signs @ apart) >= least).sum())
    return (as_large + 1) / (resamplings + 1)


def smallest_p(differences: NDArray[np.float64]) -> float:
    """The least p that an exact paired test can give: all cases that differ do so in one direction."""
    return float(min(1.0, 2.0 ** (1 - int((differences != 0).sum()))))


def holm(p: Sequence[float]) -> list[float]:
    """Values of p, corrected so that the chance of any false finding among all stays what a single one has.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = largest
    return corrected


def p_wilcoxon(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; 1 where all differences are 0."""
    from scipy.stats import wilcoxon

    apart = differences[differences != 0]
    return float(wilcoxon(apart).pvalue) if len(apart) else 1.0


def warnings_of(rows: dict[str, Row]) -> list[str]:
    """What must not be read into a table, because it has few cases."""
    cases = max((row["cases"] for row in rows.values()), default=0)
    least = min((row["smallest_p"] for row in rows.values()), default=1.0)
    told = []
    if 0 < cases < FEWEST_FOR_BOOTSTRAP:
        told.append(
            f"{cases} {'case is' if cases == 1 else 'cases are'} too few for the bootstrap, whose interval and p are "
            f"too sure below {FEWEST_FOR_BOOTSTRAP}: go by the sign flips, which hold with any number."
        )
    if cases and least > ALPHA:
        told.append(
            f"With so few cases that differ no exact test can give a p below {least:.2g}, so they cannot show which "
            "system is better, whatever their scores: take six or more that differ."
        )
    return told


def _p_bootstrap(means: NDArray[np.float64]) -> float:
    """Two-sided p of no difference: how rarely the resampled mean lies on the other side of 0."""
    rarer = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(means) + 1))
