"""Numbers that summarise many cases: mean, spread, bootstrap interval, paired test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Bootstrap samples; enough for the third digit of a 95 % interval.
RESAMPLES = 10_000


@dataclass(frozen=True)
class Summary:
    """What a column of values comes to.

    Parameters
    ----------
    n : int
        Values that are numbers.
    mean, sd, median : float
        SD with n - 1 in the denominator, 0 for a single value; NaN when there is no value.
    low, high : float
        95 % bootstrap interval of the mean.
    p : float or None
        Two-sided p of the paired Wilcoxon signed-rank test against the reference; None where there is none.
    """

    n: int
    mean: float
    sd: float
    median: float
    low: float
    high: float
    p: float | None = None

    def to_json(self) -> dict:
        """Plain values, NaN as None."""
        clean = {k: (None if isinstance(v, float) and math.isnan(v) else v) for k, v in self.__dict__.items()}
        return clean | {"ci95": [clean.pop("low"), clean.pop("high")]}


def summarise(values: Sequence[float], seed: int = 0, reference: Sequence[float] | None = None) -> Summary:
    """Summary of paired-by-position values; NaN stands for "no value" and is left out.

    Parameters
    ----------
    values : sequence of float
        One per case.
    seed : int
        Of the bootstrap.
    reference : sequence of float, optional
        The reference method's values of the same cases, for the paired test.
    """
    array = np.asarray(values, dtype=np.float64)
    known = array[~np.isnan(array)]
    p = None if reference is None else paired_wilcoxon(array, np.asarray(reference, dtype=np.float64))
    if known.size == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan, math.nan, p)
    low, high = bootstrap_interval(known, seed)
    sd = float(known.std(ddof=1)) if known.size > 1 else 0.0
    return Summary(int(known.size), float(known.mean()), sd, float(np.median(known)), low, high, p)


def bootstrap_interval(values: np.ndarray, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, section 13.3).

    Cases are drawn with replacement as if they were independent. Queries that share an atlas are not quite so; with few
    atlases the true uncertainty is larger than this interval.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    means = np.empty(RESAMPLES)
    # In blocks, so that thousands of cases need no gigabyte of indices.
    block = max(1, 2_000_000 // n)
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        means[start : start + size] = values[rng.integers(0, n, (size, n))].mean(axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def paired_wilcoxon(values: np.ndarray, reference: np.ndarray) -> float | None:
    """Two-sided p of the Wilcoxon signed-rank test of paired values, zero differences left out (Wilcoxon 1945).

    Returns
    -------
    float or None
        1 when all pairs are equal, None when there is no pair.
    """
    from scipy.stats import wilcoxon

    difference = np.asarray(values, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    difference = difference[~np.isnan(difference)]
    if difference.size == 0:
        return None
    # Differences far below any printed digit are ties that floating point broke.
    difference[np.abs(difference) < 1e-12] = 0.0
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference, zero_method="wilcox").pvalue)
