"""How certain a mean over cases is: the bootstrap."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

SEED = 20230917
"""Of the resampling, so that an interval can be had again."""
AT_ONCE = 1000


def resampled_means(values: NDArray[np.float64], resamplings: int) -> NDArray[np.float64]:
    """Means over cases that are drawn with replacement.

    Args:
        values: (cases, columns); the same cases are drawn for every column.
        resamplings: how often.

    Returns:
        (resamplings, columns).

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife", doi:10.1214/aos/1176344552.
    """
    generator = np.random.default_rng(SEED)
    cases = len(values)
    means = np.empty((resamplings, values.shape[1]))
    for start in range(0, resamplings, AT_ONCE):
        stop = min(start + AT_ONCE, resamplings)
        times = generator.multinomial(cases, np.full(cases, 1 / cases), stop - start)
        means[start:stop] = times @ values / cases
    return means


def interval_95(means: NDArray[np.float64]) -> list[float]:
    """95 % percentile interval of resampled means: [lower, upper]."""
    return [float(limit) for limit in np.quantile(means, (0.025, 0.975))]


def intervals_95(rows: Sequence[Mapping[str, float]], resamplings: int) -> dict[str, list[float]]:
    """95 % bootstrap intervals of the mean of every column over cases.

    Args:
        rows: one a case; column -> number.
        resamplings: how often the cases are drawn.

    Returns:
        Column -> [lower, upper].
    """
    names = list(rows[0])
    means = resampled_means(np.array([[row[name] for name in names] for row in rows]), resamplings)
    return {name: interval_95(means[:, column]) for column, name in enumerate(names)}
