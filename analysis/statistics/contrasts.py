"""Mean changes over paired trials, with weights, contrasts of several variants, and hosts that trials share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.intervals import TABLE_LEVEL, exact

Floats = NDArray[np.float64]
_PSEUDO = np.array([1.0, -1.0])
"""Changes of the two trials that every interval adds, one in each direction."""


@dataclass(frozen=True)
class MeanChange:
    """A mean change with its 95 % interval; NaN where there are no trials, no interval with a single host."""

    value: float
    low: float
    high: float
    n: int
    """Trials"""
    hosts: int
    """Hosts; the fewer of both kinds where each trial has two"""


def mean_change(
    changes: ArrayLike, hosts: Sequence[ArrayLike], weights: ArrayLike | None = None, limit: float = 1.0
) -> MeanChange:
    """Weighted mean of `changes` (trial; between -limit and limit), correlated where trials share a host.

    `hosts` holds one array (trial) of host names, or two where a trial compares two hosts: two trials are then
    correlated if they share any host (the dyadic-robust variance of Aronow, Samii & Assenova 2015; with one array the
    usual cluster-robust one). The variance is never below that of independent trials. The interval is Student's t over
    hosts after Bonett & Price (2012): it adds one effective trial that changes by 1 and one by -1, in hosts of their
    own. So it has a width where nothing changed, and covers where few trials did. An effective trial has the weight of
    as many trials as the design effect of the hosts; where all trials change alike, of all that share a host.
    """
    d = np.asarray(changes, dtype=np.float64)
    w = np.ones(len(d)) if weights is None else np.asarray(weights, dtype=np.float64)
    held = w > 0.0
    d, w, names = d[held], w[held], [np.asarray(column)[held] for column in hosts]
    if not len(d):
        return MeanChange(np.nan, np.nan, np.nan, 0, 0)
    value, codes = float(w @ d / w.sum()), _codes(names)
    fewest = min(len(np.unique(column)) for column in codes)
    if fewest < 2:
        return MeanChange(value, np.nan, np.nan, len(d), fewest)
    each = float(w @ w / w.sum()) * _design_effect(w, d - value, codes)
    more_d, more_w = np.append(d, _PSEUDO), np.append(w, [each, each])
    centre = float(more_w @ more_d / more_w.sum())
    own = codes.max() + 1 + np.arange(2)
    error = _error(more_w * (more_d - centre) / more_w.sum(), [np.append(column, own) for column in codes])
    half = float(-scipy.special.stdtrit(fewest - 1, (1.0 - TABLE_LEVEL) / 2.0)) * error
    low, high = max(min(centre - half, value), -limit), min(max(centre + half, value), limit)
    return MeanChange(value, low, high, len(d), fewest)


def change_of_weights(
    hits: ArrayLike, hosts: ArrayLike, weights: ArrayLike, before: ArrayLike, more_variance: float = 0.0
) -> MeanChange:
    """Weighted share of `hits` with `weights` minus that with the weights `before`, on the same injections.

    The variance is the linearised one of the difference of two ratios, with hosts as clusters, plus `more_variance`
    (that of the weights themselves). Where all outcomes agree the change is at most the share that none in so many
    hosts allows (Clopper & Pearson).
    """
    y, codes = np.asarray(hits, dtype=np.float64), _codes([np.asarray(hosts)])
    shares, parts = [], []
    for w in (np.asarray(weights, dtype=np.float64), np.asarray(before, dtype=np.float64)):
        if not w.any():
            return MeanChange(np.nan, np.nan, np.nan, 0, 0)
        shares.append(float(w @ y / w.sum()))
        parts.append(w * (y - shares[-1]) / w.sum())
    value, count = shares[0] - shares[1], len(np.unique(codes))
    if count < 2:
        return MeanChange(value, np.nan, np.nan, len(y), count)
    error = float(np.hypot(_error(parts[0] - parts[1], list(codes)), np.sqrt(more_variance)))
    half = float(-scipy.special.stdtrit(count - 1, (1.0 - TABLE_LEVEL) / 2.0)) * error
    if np.ptp(y) == 0.0:
        half = exact(0, count)[1]
    return MeanChange(value, max(value - half, -1.0), min(value + half, 1.0), len(y), count)


def largest_by_noise(
    changes: ArrayLike, cells: ArrayLike, hosts: ArrayLike, replicates: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Largest absolute mean change of a cell, and standard deviation of the cells' changes (each: replicate), if the
    change were the same everywhere.

    Trials are dealt to cells anew; those of one host in one cell stay together and change places with as many.
    """
    d = np.asarray(changes, dtype=np.float64)
    cell = np.unique(np.asarray(cells), return_inverse=True)[1]
    host = np.unique(np.asarray(hosts), return_inverse=True)[1]
    _, first, block = np.unique(cell * (host.max() + 1) + host, return_index=True, return_inverse=True)
    sums, sizes, of_block = np.bincount(block, d), np.bincount(block), cell[first]
    trials = np.bincount(cell)
    found = []
    for _ in range(replicates):
        dealt = sums.copy()
        for size in np.unique(sizes):
            alike = np.flatnonzero(sizes == size)
            dealt[alike] = sums[rng.permutation(alike)]
        found.append(np.bincount(of_block, dealt) / trials)
    means = np.array(found)
    return np.abs(means).max(axis=1), means.std(axis=1)


def _codes(names: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    """Numbers (column, trial) of hosts, the same host with the same number in every column."""
    _, place = np.unique(np.concatenate([column.astype(str) for column in names]), return_inverse=True)
    return place.reshape(len(names), -1).astype(np.int64)


def _design_effect(weights: Floats, residuals: Floats, codes: NDArray[np.int64]) -> float:
    """Variance of the mean with trials correlated by host, over that of independent ones: at least 1, and at most that
    of hosts whose trials all agree."""
    full = _shared(weights, codes) / float(weights @ weights)
    parts = weights * residuals
    scatter = float(parts @ parts)
    return min(max(_shared(parts, codes) / scatter, 1.0), full) if scatter > 0.0 else full


def _error(parts: Floats, codes: Sequence[NDArray[np.int64]]) -> float:
    """Standard error of the sum of `parts` (trial), correlated where trials share a host."""
    together = np.stack(codes)
    count = len(np.unique(together))
    return float(np.sqrt(max(_shared(parts, together) * count / (count - 1), float(parts @ parts))))


def _shared(parts: Floats, codes: NDArray[np.int64]) -> float:
    """Sum of the products of `parts` over all pairs of trials that share a host, a trial with itself included."""
    if len(codes) == 1:
        return float(np.square(np.bincount(codes[0], parts)).sum())
    together = np.sort(codes, axis=0)
    new = np.vstack([np.ones((1, len(parts)), bool), together[1:] != together[:-1]])
    by_host = np.bincount(together[new], np.broadcast_to(parts, together.shape)[new])
    _, first, pair = np.unique(together, axis=1, return_index=True, return_inverse=True)
    twice = (new.sum(axis=0) - 1)[first]  # trials with the same two hosts were counted with both
    return float(np.square(by_host).sum() - twice @ np.square(np.bincount(pair.ravel(), parts)))
