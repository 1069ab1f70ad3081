"""Completeness of weighted injections: ratio of sums, host-clustered, with the uncertainty of a derived threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import ClusterSums, effective_counts, mixture
from analysis.statistics.thresholds import Distribution

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Weighted:
    """A weighted fraction above a threshold, with its interval; NaN where nothing has weight."""

    n_eff: float
    """Kish's effective number of injections, (sum of w)^2 / sum of w^2"""
    completeness: float
    low: float
    high: float


def effective_number(weights: ArrayLike) -> float:
    """Kish's (sum of w)^2 / sum of w^2; 0 where nothing has weight."""
    w = np.asarray(weights, dtype=np.float64)
    total = float((w * w).sum())
    return float(w.sum()) ** 2 / total if total else 0.0


def weighted_share(
    hosts: ArrayLike, values: ArrayLike, weights: ArrayLike, threshold: float, drawn: Distribution | None, level: float
) -> Weighted:
    """The weighted fraction of `values` above `threshold`, injections of one host being one cluster.

    Weights are scaled to add up to their effective number, hosts are counted by their effective number too, and the
    interval is that of :func:`analysis.statistics.intervals.clustered` on these counts. `drawn` is the distribution of
    a derived threshold (:func:`analysis.statistics.thresholds.bootstrap_thresholds`), None for one that was chosen.
    """
    w, v = np.asarray(weights, dtype=np.float64), np.asarray(values, dtype=np.float64)
    n_eff = effective_number(w)
    if not n_eff:
        return Weighted(0.0, np.nan, np.nan, np.nan)
    cuts, shares = (np.array([threshold]), np.ones(1)) if drawn is None else drawn
    scaled = w * (n_eff / w.sum())
    codes = pd.factorize(np.asarray(hosts))[0]
    k, n = _effective(codes, v, scaled, cuts, level)
    low, high = mixture(k[None], n[None], shares, level)
    return Weighted(n_eff, float(w[v > threshold].sum() / w.sum()), float(low[0]), float(high[0]))


def _effective(
    codes: NDArray[np.int64], values: Floats, weights: Floats, cuts: Floats, level: float
) -> tuple[Floats, Floats]:
    """Effective successes and trials at every value of the threshold."""
    order = np.argsort(cuts)
    passed = np.searchsorted(cuts[order], values, side="left")  # how many cuts each value lies above
    size, hosts = len(cuts) + 1, int(codes.max()) + 1
    held = np.bincount(codes * size + passed, weights, minlength=hosts * size).reshape(hosts, size)
    above = held[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:][:, np.argsort(order)]
    n = held.sum(axis=1)[:, None]
    above, total = np.minimum(above, n), np.full(len(cuts), n.sum())
    clusters = np.full(len(cuts), effective_number(n))
    sums = ClusterSums(clusters, (above**2).sum(axis=0), (above * n).sum(axis=0), np.full(len(cuts), (n**2).sum()))
    return effective_counts(np.minimum(above.sum(axis=0), total), total, sums, level)
