"""Completeness of weighted injections: ratio of sums, host-clustered, with the uncertainty of a derived threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import ClusterSums, effective_counts, freedom_factor, mixture
from analysis.statistics.thresholds import Distribution

Floats = NDArray[np.float64]

_DENSE = 4
"""Numbers up to so many times their count are looked up in an array, others are sorted first."""
_MORE = 2.0
"""Trials of the rarer outcome that the variance of independent weighted trials is drawn towards, chosen for coverage
(docs)."""


@dataclass(frozen=True)
class Weighted:
    """A weighted fraction above a threshold, with its interval; NaN where nothing has weight."""

    n_eff: float
    """Kish's effective number of injections, (sum of w)^2 / sum of w^2"""
    completeness: float
    low: float
    high: float


def scaled(weights: ArrayLike) -> Floats:
    """Weights over the largest of them, so that no square or sum of them overflows, nor all of them underflow."""
    w = np.asarray(weights, dtype=np.float64)
    largest = w.max(initial=0.0)
    return w / largest if largest > 0.0 else w


def effective_number(weights: ArrayLike) -> float:
    """Kish's (sum of w)^2 / sum of w^2; 0 where nothing has weight."""
    w = scaled(weights)
    total = float((w * w).sum())
    return float(w.sum()) ** 2 / total if total else 0.0


def clusters(names: ArrayLike) -> NDArray[np.int64]:
    """Numbers of clusters from 0, in the order in which they first appear, by their names or other numbers."""
    known: dict[Any, int] = {}
    values = np.asarray(names)
    if values.dtype.kind not in "iu":
        return np.array([known.setdefault(name, len(known)) for name in values.tolist()], dtype=np.int64)
    values = values.astype(np.int64)  # of small or unsigned kinds the largest plus one need not be a number
    if len(values) and not 0 <= values.min() <= values.max() <= _DENSE * len(values):
        values = np.unique(values, return_inverse=True)[1]
    first = np.full(values.max(initial=-1) + 1, len(values))
    first[values[::-1]] = np.arange(len(values))[::-1]  # of several places the last one written stays
    place = np.empty_like(first)
    place[np.argsort(first)] = np.arange(len(first))  # numbers that do not occur come last
    return place[values]


def weighted_share(
    hosts: ArrayLike,
    values: ArrayLike,
    weights: ArrayLike,
    threshold: float,
    drawn: Distribution | None,
    level: float,
    directions: Floats | None = None,
) -> Weighted:
    """The weighted fraction of `values` above `threshold`, injections of one host being one cluster.

    The interval is that of as many independent trials as give the linearised variance of Hajek's ratio with hosts as
    clusters, sum over hosts of (sum of w (y - p))^2 / (sum of w)^2. With equal weights it is that of
    :func:`analysis.statistics.intervals.clustered`, or wider where all outcomes agree or where Kish's number of hosts
    is below two. `drawn` is the distribution of a derived threshold
    (:func:`analysis.statistics.thresholds.bootstrap_thresholds`), None for one that was chosen. `directions`
    (injection, direction) are derivatives of log weights along independent errors of unit variance, where weights were
    estimated (:meth:`analysis.fitted.propensity.Propensity.directions`): they add the variance of the ratio along
    them.
    """
    w, v = scaled(weights), np.asarray(values, dtype=np.float64)
    held = w > 0.0
    if not held.any():
        return Weighted(0.0, np.nan, np.nan, np.nan)
    w, v, codes = w[held], v[held], clusters(np.asarray(hosts)[held])
    n_eff = effective_number(w)
    cuts, shares = (np.array([threshold]), np.ones(1)) if drawn is None else drawn
    k, n = _effective(codes, v, w * (n_eff / w.sum()), cuts, level)
    if directions is not None:
        less = _shrunk(v, w / w.sum(), np.asarray(directions)[held], cuts, n)
        k, n = k * less, n * less
    low, high = mixture(k[:, None], n[:, None], shares, level)
    return Weighted(n_eff, float(w[v > threshold].sum() / w.sum()), float(low[0]), float(high[0]))


def _shrunk(values: Floats, shares: Floats, directions: Floats, cuts: Floats, trials: Floats) -> Floats:
    """Factor of effective counts (2, values of the threshold) by which estimated weights reduce them.

    Along a direction g the ratio changes by the sum of shares (y - p) g; the variance p (1 - p) / trials gains the sum
    of the squares. 1 where all outcomes agree.
    """
    order = np.argsort(cuts)
    passed = np.searchsorted(cuts[order], values, side="left")

    def above(weights: Floats) -> Floats:
        """Sum of the weights above each cut."""
        sums = np.bincount(passed, weights, minlength=len(cuts) + 1)
        return np.asarray(sums[::-1].cumsum()[::-1][1:][np.argsort(order)])

    p, gained = above(shares), np.zeros(len(cuts))
    for along in directions.T:
        moved = shares * along
        gained += (above(moved) - p * moved.sum()) ** 2
    spread = p * (1.0 - p)
    known = spread > 1e-12
    return np.where(known, 1.0 / (1.0 + gained * trials / np.where(known, spread, 1.0)), 1.0)


def _effective(
    codes: NDArray[np.int64], values: Floats, weights: Floats, cuts: Floats, level: float
) -> tuple[Floats, Floats]:
    """Effective successes and trials (2, values of the threshold) for both limits, of weights that add up to Kish's
    number.

    The variance has three parts: that of independent injections (:func:`_relative`), the design effect of the clusters
    on it, and the uncertainty of both where a few clusters hold most of the weight (:func:`_evenness`). Where all
    outcomes agree, Kish's effective numbers of injections and of hosts are all that is known.
    """
    order = np.argsort(cuts)
    passed = np.searchsorted(cuts[order], values, side="left")  # how many cuts each value lies above
    size, hosts, back = len(cuts) + 1, int(codes.max()) + 1, np.argsort(order)
    held = np.bincount(codes * size + passed, weights, minlength=hosts * size).reshape(hosts, size)
    above = held[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:][:, back]
    n = held.sum(axis=1)[:, None]
    above, total = np.minimum(above, n), np.full(len(cuts), n.sum())
    hits = np.where(values.min() > cuts, total, np.minimum(above.sum(axis=0), total))
    both = np.stack([np.bincount(passed, each, minlength=size) for each in (weights**2, np.ones(len(weights)))])
    found, missed = both[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:][:, back], both.cumsum(axis=1)[:, :-1][:, back]
    relative, used = _relative(hits, total, found, missed)
    clusters, counts = effective_number(n), np.bincount(codes)
    known = (hits > 0.0) & (hits < total) & (clusters >= 2.0)
    uneven = np.where(known, hosts / effective_number(counts), 1.0)  # with equal weights the sums have all clusters
    sums = ClusterSums(
        clusters * uneven, (above**2).sum(axis=0), (above * n).sum(axis=0), np.full(len(cuts), (n**2).sum())
    )
    k, trials = effective_counts(hits, total, sums, level, relative)
    even = min(_evenness(n) / _evenness(counts), 1.0)
    factor = freedom_factor(clusters, even * clusters, level) / used
    return np.where(known, k * factor, k), np.where(known, trials * factor, trials)


def _relative(hits: Floats, total: Floats, found: Floats, missed: Floats) -> tuple[Floats, Floats]:
    """Variance of the ratio over p (1 - p) / n_eff for independent injections, as seen and as used; 1 if all agree.

    `found` and `missed` (2, thresholds) are the sum of squared weights and the number of successes and of failures.
    What is seen is p (1 - p) n_eff (1 / n_1 + 1 / n_0) with Kish's numbers n_1 of successes and n_0 of failures: 1 with
    equal weights, less where the rarer outcome has small weights. What is used allows for a few large weights
    (:func:`_leverage`), and is drawn towards 1, or itself if that is more, as if two more trials of the rarer outcome
    had been seen.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p, ones, zeros = hits / total, hits**2 / found[0], (total - hits) ** 2 / missed[0]
        terms = (1.0 - p) ** 2 * found[0], p**2 * missed[0]
        scale, rarer = total * p * (1.0 - p), np.minimum(ones, zeros)
        seen = (terms[0] + terms[1]) / scale
        wide = (terms[0] * _leverage(ones, found[1]) + terms[1] * _leverage(zeros, missed[1])) / scale
        used = (rarer * wide + _MORE * np.maximum(wide, 1.0)) / (rarer + _MORE)
    known = (hits > 0.0) & (hits < total)
    return np.where(known, seen, 1.0), np.where(known, used, 1.0)


def _leverage(kish: Floats, count: Floats) -> Floats:
    """Factor of a sum of squared weights after HC3 (MacKinnon & White 1985), relative to equal weights; at most 4."""
    left = np.maximum(1.0 - 1.0 / kish, (1.0 - 1.0 / count) / 2.0)
    return np.where(count > 1.0, np.maximum((1.0 - 1.0 / count) / left, 1.0) ** 2, 1.0)


def _evenness(sizes: ArrayLike) -> float:
    """Degrees of freedom of a sum of squares of clusters (Satterthwaite 1946) over Kish's number; 1 if sizes agree."""
    square = np.asarray(sizes, dtype=np.float64) ** 2
    return float(square.sum() ** 2 / (square**2).sum()) / effective_number(sizes)
