"""Intervals of proportions: Jeffreys, Clopper-Pearson, and for injections that share hosts.

Quantiles are taken from scipy.special, because importing scipy.stats takes as long as a query.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.records import Measure
from analysis.statistics.limits import limits
from lake.errors import invalid

Floats = NDArray[np.float64]

TABLE_LEVEL = 0.95
"""Coverage of every interval stored in `diagnostics`, `gates` and the wide columns of `completeness`."""
NARROW_LEVEL = 0.68
"""Coverage of the narrow interval of `completeness`."""
AGREEING = 2.5
"""Clusters that hold the rarer outcome by which full correlation becomes less likely by a factor of e (docs)."""
CHANCE = 2.0
"""Standard errors up to which the excess of a design effect may be chance, where few are found (docs)."""


class Interval(NamedTuple):
    """Lower and upper bounds, one per proportion."""

    low: Floats
    high: Floats


class ClusterSums(NamedTuple):
    """Sums over clusters (hosts) that the variance of a ratio needs; k successes of n trials in each cluster."""

    clusters: Floats
    k_squared: Floats
    k_times_n: Floats
    n_squared: Floats


def jeffreys(successes: ArrayLike, trials: ArrayLike, level: float) -> Interval:
    """Equal-tailed interval under the Jeffreys prior Beta(1/2, 1/2); NaN where there are no trials.

    The lower bound is 0 at k = 0 and the upper bound 1 at k = n (Brown, Cai & DasGupta 2001, section 4.1.2).
    Counts may be fractional (effective counts).
    """
    k, n = _counts(successes, trials)
    tail = _tail(level)
    low = np.where(k > 0, scipy.special.betaincinv(k + 0.5, n - k + 0.5, tail), 0.0)
    high = np.where(k < n, scipy.special.betaincinv(k + 0.5, n - k + 0.5, 1.0 - tail), 1.0)
    return _blank_empty(low, high, n)


def clopper_pearson(successes: ArrayLike, trials: ArrayLike, level: float) -> Interval:
    """Exact interval (Clopper & Pearson 1934): covers at least at `level`; NaN where there are no trials."""
    k, n = _counts(successes, trials)
    tail = _tail(level)
    inside_low, inside_high = np.maximum(k, 1e-300), np.maximum(n - k, 1e-300)
    low = np.where(k > 0, scipy.special.betaincinv(inside_low, n - k + 1.0, tail), 0.0)
    high = np.where(k < n, scipy.special.betaincinv(k + 1.0, inside_high, 1.0 - tail), 1.0)
    return _blank_empty(low, high, n)


def exact(successes: float, trials: float, level: float = TABLE_LEVEL) -> tuple[float, float]:
    """Clopper-Pearson bounds of one proportion."""
    low, high = clopper_pearson(successes, trials, level)
    return float(low[0]), float(high[0])


def share(
    name: str, hit: int, of: int, method: str = "Clopper-Pearson", unit: str = "", empty: str = "no objects"
) -> Measure:
    """A fraction of objects with its exact interval; not defined if there are none."""
    return Measure(name, hit / of, *exact(hit, of), of, unit, method) if of else Measure(name, np.nan, method=empty)


def jeffreys_share(name: str, hit: int, of: int, method: str = "Jeffreys") -> Measure:
    """A fraction of objects with its Jeffreys interval; not defined if there are none."""
    if not of:
        return Measure(name, np.nan, method="no objects")
    low, high = jeffreys(hit, of, TABLE_LEVEL)
    return Measure(name, hit / of, float(low[0]), float(high[0]), of, "", method)


def difference(name: str, first: tuple[int, int], second: tuple[int, int], method: str = "Newcombe") -> Measure:
    """Share of `first` (hits, objects) minus that of `second`, two separate samples; not defined if one is empty.

    The interval is Newcombe's hybrid of Wilson score intervals (1998, method 10).
    """
    (hit_1, of_1), (hit_2, of_2) = first, second
    if not (of_1 and of_2):
        return Measure(name, np.nan, method="no objects in one of the samples")
    (p1, low_1, high_1), (p2, low_2, high_2) = _wilson(hit_1, of_1), _wilson(hit_2, of_2)
    low = p1 - p2 - np.hypot(p1 - low_1, high_2 - p2)
    high = p1 - p2 + np.hypot(high_1 - p1, p2 - low_2)
    return Measure(name, p1 - p2, float(low), float(high), of_1 + of_2, "", method)


def _wilson(hit: int, of: int) -> tuple[float, float, float]:
    """A share with the bounds of its Wilson score interval."""
    z, p = float(scipy.special.ndtri((1.0 + TABLE_LEVEL) / 2.0)), hit / of
    middle = (p + z * z / (2.0 * of)) / (1.0 + z * z / of)
    half = z / (1.0 + z * z / of) * np.sqrt(p * (1.0 - p) / of + z * z / (4.0 * of * of))
    return p, max(float(middle - half), 0.0), min(float(middle + half), 1.0)


def median(values: ArrayLike) -> tuple[float, float, float]:
    """Median, and its 95 % interval between two order statistics (exact, for any distribution); NaN without values.

    Fewer than six values have no interval.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        return np.nan, np.nan, np.nan
    below = scipy.special.bdtr(np.arange(len(ordered)), len(ordered), 0.5)
    outside = int((below <= _tail(TABLE_LEVEL)).sum())
    bounds = (ordered[outside - 1], ordered[-outside]) if outside else (np.nan, np.nan)
    return float(np.median(ordered)), float(bounds[0]), float(bounds[1])


def largest(successes: ArrayLike, trials: ArrayLike, level: float = TABLE_LEVEL) -> tuple[float, float]:
    """Interval of the largest of several proportions, which may depend on each other; NaN where none has trials.

    The largest observed fraction is biased upwards, and so is that of every resample: a percentile bootstrap covers too
    rarely where proportions are similar. These bounds hold whatever the proportions. The lower one is the largest of
    Clopper-Pearson bounds that hold at once (Bonferroni); it fails only if one of them does. The upper one is the
    largest of upper bounds, and fails only if that of the largest proportion does.
    """
    k, n = _counts(successes, trials)
    if not (known := n > 0).any():
        return np.nan, np.nan
    low, _ = clopper_pearson(k[known], n[known], 1.0 - (1.0 - level) / known.sum())
    _, high = clopper_pearson(k[known], n[known], level)
    return float(low.max()), float(high.max())


def design_effect(successes: ArrayLike, trials: ArrayLike, sums: ClusterSums, relative: Floats | float = 1.0) -> Floats:
    """Variance of k/n with clusters over that of independent trials, at least 1; NaN where all outcomes agree.

    Two for each proportion, (2, rows): for the lower and for the upper limit. The variance of independent trials is the
    binomial one times `relative`, which differs from 1 where weights go with the outcome
    (:mod:`analysis.statistics.weighted`).

    The linearised variance of a ratio, sum (k_h - p n_h)^2 / n^2, is known from few clusters where successes (or
    failures) are rare. A limit on the far side of the estimate, the upper one where few succeed, is then missed by
    samples with too few successes, in which the correlation is hardly seen. Its design effect is drawn towards that of
    clusters that agree within (sum n_h^2 / n), by a part exp(-evidence / `AGREEING`). Evidence is the number of
    clusters that hold the rarer outcome. Where clusters are unequal it is less: times the part of others that outcomes
    have beside them (:func:`_beside`), and times the evenness of the sizes (:func:`_evenness`). The lower limit where
    few succeed is missed by samples with too many successes, which show the correlation. Its design effect is that
    seen, less what may be chance (:func:`_beyond_chance`). Both turn into that of the upper limit at a half, and mirror
    each other.
    """
    k, n = _counts(successes, trials)
    with np.errstate(divide="ignore", invalid="ignore"):
        p, full = k / n, np.maximum(sums.n_squared / n, 1.0)
        scatter = np.maximum(sums.k_squared - 2.0 * p * sums.k_times_n + p * p * sums.n_squared, 0.0)
        few = 1.0 - np.minimum(2.0 * np.stack([p, 1.0 - p]), 1.0) ** 2
        seen = 1.0 + _beyond_chance(scatter / (n * p * (1.0 - p) * relative) - 1.0, full, n, few)
        found = k * k / sums.k_squared * _beside(sums.k_times_n / k, full)
        missed = (n - k) ** 2 / (sums.n_squared - 2.0 * sums.k_times_n + sums.k_squared)
        missed *= _beside((sums.n_squared - sums.k_times_n) / (n - k), full)
        evidence = np.minimum(found, missed) * _evenness(n, sums)
        drawn = np.exp(-evidence / (AGREEING * (1.0 - few)))
        effect = seen + drawn * np.maximum(full - seen, 0.0)
    unknown = (k <= 0) | (k >= n) | (np.asarray(sums.clusters) < 2)
    return np.where(unknown, np.nan, effect)


def _beyond_chance(excess: Floats, full: Floats, n: Floats, few: Floats) -> Floats:
    """Excess of a design effect over 1, less the part that independent trials may show by chance; none below 0.

    Their excess has the variance 2 (full - 1) / n. With `few` at 1, an excess below `CHANCE` standard errors counts as
    chance; one of x has `CHANCE`^2 variances / x taken off, less of it the nearer it is to that of full correlation.
    """
    x = np.maximum(excess, 0.0)
    chance = few * CHANCE**2 * 2.0 * (full - 1.0) / n * (1.0 - np.clip(x / (full - 1.0), 0.0, 1.0))
    return np.where(x > 0.0, np.maximum(x - np.where(full > 1.0, chance, 0.0) / x, 0.0), 0.0)


def _beside(size: Floats, full: Floats) -> Floats:
    """Other trials in the clusters of outcomes, whose mean size is `size`, over those of all trials; at most 1.

    A success shows a correlation by the other trials of its cluster. 1 where clusters are equal.
    """
    return np.where(full > 1.0, np.clip((size - 1.0) / (full - 1.0), 0.0, 1.0), 1.0)


def _evenness(n: Floats, sums: ClusterSums) -> Floats:
    """Mean over root mean square of the sizes of clusters: 1 where they are equal."""
    return np.asarray(n / np.sqrt(sums.clusters * sums.n_squared))


def clustered(successes: ArrayLike, trials: ArrayLike, sums: ClusterSums, level: float) -> Interval:
    """Interval on effective counts, for injections that share hosts (or fields of the sky).

    n_eff = n / deff * (t_{n-1} / t_f)^2 (Korn & Graubard 1998), but not below what it is if clusters agree within;
    k_eff = p n_eff. Each limit has its own design effect (:func:`design_effect`). The degrees of freedom f are those of
    Satterthwaite (1946): of the variance only the part 1 - 1 / deff is estimated from clusters, so
    f = (m - 1) / (1 - 1 / deff)^2, at most n - 1, for m clusters in effect: n^2 / sum n_h^2 (Kish 1965) times the
    evenness of the sizes (:func:`_evenness`). The limits are those of :mod:`analysis.statistics.limits`. Where all
    outcomes agree, or there is one cluster, nothing is known about the correlation: each cluster then counts as one
    trial, and the bound is that of Clopper & Pearson.
    """
    k, n = effective_counts(successes, trials, sums, level)
    return mixture(k[..., None], n[..., None], np.ones(1), level)


def effective_counts(
    successes: ArrayLike, trials: ArrayLike, sums: ClusterSums, level: float, relative: Floats | float = 1.0
) -> tuple[Floats, Floats]:
    """Independent successes and trials equivalent to the clustered ones, for an interval at `level`.

    Both are (2, rows): for the lower and for the upper limit. `relative` is that of :func:`design_effect`, which alone
    depends on it.
    """
    k, n = _counts(successes, trials)
    m = np.asarray(sums.clusters, dtype=np.float64)
    effect = design_effect(k, n, sums, relative)
    with np.errstate(divide="ignore", invalid="ignore"):
        equal = n * n / sums.n_squared
        of_clusters = np.maximum(equal * _evenness(n, sums) - 1.0, 1.0) / (1.0 - 1.0 / effect) ** 2
        freedom = freedom_factor(n, np.minimum(of_clusters + 1.0, n), level)
        known = np.minimum(np.maximum(n / effect * freedom, np.minimum(n / effect, equal)), n)
        effective = np.where(np.isnan(effect), np.minimum(m, n), known)
        p = np.where(n > 0, k / n, np.nan)
    effective = np.where(n > 0, effective, 0.0)
    return np.where(n > 0, p * effective, 0.0), effective


def freedom_factor(many: ArrayLike, few: ArrayLike, level: float) -> Floats:
    """Squared ratio of the t quantiles with `many` - 1 and `few` - 1 degrees of freedom: 1 where these agree."""
    wide, narrow = (
        scipy.special.stdtrit(np.maximum(np.asarray(count, dtype=np.float64) - 1.0, 1.0), _tail(level))
        for count in (few, many)
    )
    return np.asarray((narrow / wide) ** 2, dtype=np.float64)


def mixture(successes: Floats, trials: Floats, weights: Floats, level: float) -> Interval:
    """Interval of a proportion counted at an uncertain threshold, one per row.

    `successes` and `trials` are (rows, values of the threshold), or (2, rows, values) where the lower and the upper
    limit have effective counts of their own because clusters share outcomes (:func:`effective_counts`); `weights`
    (values) are the probabilities of those values. The interval is that of :func:`clustered` in the mixtures
    of the distributions of these counts. It starts at 0 if some value of the threshold has no success and ends at 1 if
    some has no failure; NaN if there are no trials.
    """
    _tail(level)
    k, n = (np.broadcast_to(each, (2, *each.shape[-2:])) for each in (successes, trials))
    empty = np.asarray((n <= 0).any(axis=(0, 2)))
    k, n = np.where(empty[:, None], 0.0, k), np.where(empty[:, None], 1.0, n)
    low, high = limits(k, n, weights, level)
    return Interval(np.where(empty, np.nan, low), np.where(empty, np.nan, high))


def _counts(successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats]:
    k = np.atleast_1d(np.asarray(successes, dtype=np.float64))
    n = np.atleast_1d(np.asarray(trials, dtype=np.float64))
    k, n = np.broadcast_arrays(k, n)
    if np.any(~np.isfinite(k)) or np.any(~np.isfinite(n)) or np.any(k < 0) or np.any(k > n):
        raise invalid("successes", "finite and between 0 and the number of trials", (k.tolist()[:5], n.tolist()[:5]))
    return k, n


def _tail(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise invalid("level", "between 0 and 1 exclusive", level)
    return (1.0 - level) / 2.0


def _blank_empty(low: Floats, high: Floats, n: Floats) -> Interval:
    return Interval(np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan))
