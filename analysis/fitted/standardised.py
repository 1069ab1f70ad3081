"""Rates in a population, from samples of its strata."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

Rate = tuple[float, float, float]
"""Estimate, low and high end of the interval."""


def standardised_rate(found: ArrayLike, sampled: ArrayLike, size: ArrayLike, level: float) -> Rate:
    """How many of a population have a property, from counts in samples of its strata: estimate and interval.

    `found` of the `sampled` objects of each stratum have it; the stratum holds `size` objects (any unit: also per
    square degree). Interval: gamma distributions of Fay & Feuer (1997), which is exact (Garwood) for one stratum and
    conservative for several. NaN where a stratum that holds objects was not sampled.
    """
    k, n, whole = (np.asarray(values, dtype=float) for values in (found, sampled, size))
    if np.any((n == 0) & (whole > 0)):
        return float("nan"), float("nan"), float("nan")
    held = n > 0
    weights = whole[held] / n[held]
    total, variance = float(weights @ k[held]), float(weights**2 @ k[held])
    largest, tail = float(weights.max(initial=0.0)), (1.0 - level) / 2.0
    low = 0.0 if total == 0.0 else _gamma(tail, total, variance)
    return total, low, _gamma(1.0 - tail, total + largest, variance + largest**2)


def _gamma(probability: float, mean: float, variance: float) -> float:
    """Quantile of a gamma distribution with a mean and a variance."""
    if mean == 0.0:
        return 0.0
    return float(stats.gamma.ppf(probability, mean**2 / variance, scale=variance / mean))
