"""Bootstrap of ranking metrics by weights on the sorted scores: stratified by class, or by cluster; BCa intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.roc import labelled

Floats = NDArray[np.float64]
_CELLS = 4_000_000
"""Weights held at once (32 MB)."""
_GROUPS = 400
"""Groups, at most, of which a jackknife leaves one out."""


AUC, PRECISION = "auc", "average_precision"


@dataclass(frozen=True)
class RankingReplicates:
    """Bootstrap replicates of ranking metrics; NaN where a resample lacks a class."""

    names: tuple[str | float, ...]
    """`AUC`, `PRECISION`, and the rates of the partial AUCs, in the order of the columns below."""
    whole: Floats
    """(metric,) The metrics of the sample."""
    found: Floats
    """(replicate, metric)"""
    left_out: tuple[Floats, ...]
    """(group, metric) per stratum: the metrics without one of some groups of its objects, or clusters (a jackknife)."""

    @property
    def auc(self) -> Floats:
        """(replicate,)"""
        return self._column(AUC)

    @property
    def average_precision(self) -> Floats:
        """(replicate,)"""
        return self._column(PRECISION)

    @property
    def partial_auc(self) -> dict[float, Floats]:
        """Rate -> (replicate,), McClish-standardised."""
        return {name: self._column(name) for name in self.names if isinstance(name, float)}

    def interval(self, values: Floats, level: float) -> tuple[float, float]:
        """Percentile interval of one of the metrics; NaN if all replicates agree, which carries no information."""
        tail = (1.0 - level) / 2.0
        low, high = np.nanquantile(values, [tail, 1.0 - tail])
        return (float(low), float(high)) if low < high else (float("nan"), float("nan"))

    def accelerated(self, name: str | float, level: float) -> tuple[float, float]:
        """BCa interval of a metric, see :func:`bca`."""
        column = self.names.index(name)
        left_out = [group[:, column] for group in self.left_out]
        return bca(float(self.whole[column]), self.found[:, column], left_out, level)

    def _column(self, name: str | float) -> Floats:
        return self.found[:, self.names.index(name)]


def bca(value: float, replicates: Floats, left_out: Sequence[Floats], level: float) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987) of a statistic with this value and these replicates.

    `left_out`: per sample (stratum) the statistic without each of its groups. The acceleration is that of several
    samples (Davison & Hinkley 1997, eq. 5.29). NaN if all replicates agree.
    """
    drawn = replicates[np.isfinite(replicates)]
    if not len(drawn) or drawn.min() == drawn.max():
        return float("nan"), float("nan")
    below = (np.sum(drawn < value) + 0.5 * np.sum(drawn == value)) / len(drawn)
    bias = scipy.special.ndtri(np.clip(below, 0.5 / len(drawn), 1.0 - 0.5 / len(drawn)))
    influence = [(len(x) - 1) * (x.mean() - x) / len(x) for x in (v[np.isfinite(v)] for v in left_out) if len(x)]
    spread = sum(float(np.sum(u**2)) for u in influence)
    skew = sum(float(np.sum(u**3)) for u in influence) / (6.0 * spread**1.5) if spread > 0.0 else 0.0
    tail = (1.0 - level) / 2.0
    z = bias + scipy.special.ndtri([tail, 1.0 - tail])
    low, high = np.quantile(drawn, scipy.special.ndtr(bias + z / (1.0 - skew * z)))
    return float(low), float(high)


def resample_ranking(
    labels: ArrayLike,
    scores: ArrayLike,
    partial_fprs: tuple[float, ...],
    replicates: int,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
) -> RankingReplicates:
    """Replicates of AUC, average precision and partial AUC.

    Without `clusters` positives and negatives are resampled separately (stratified); with them, whole clusters are
    drawn (HEALPix pixels, hosts), for scores that are correlated within a cluster. Ties count half, as in the area
    under the ROC curve.
    """
    order = _Order.of(*labelled(labels, scores))
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if clusters is None:
        weights, left_out = _stratified(order, replicates, rng), _without_objects(order)
    else:
        codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
        of = [codes[y == value][np.argsort(-s[y == value], kind="stable")] for value in (1, 0)]
        weights = _clustered(order, (of[0], of[1]), replicates, rng)
        left_out = [_without_clusters(order, (of[0], of[1]))]
    found = np.concatenate([order.metrics(*pair, partial_fprs) for pair in weights])
    whole = order.metrics(np.ones((1, order.positives)), order.sizes[None], partial_fprs)[0]
    without = tuple(order.metrics(*pair, partial_fprs) for pair in left_out)
    return RankingReplicates((AUC, PRECISION, *partial_fprs), whole, found, without)


@dataclass(frozen=True)
class _Order:
    """Where the positives stand among the negatives, both sorted from the highest score down.

    Negatives between two neighbouring positives can be exchanged: only their number in each such gap counts.
    """

    tied: NDArray[np.int64]
    """(positive,) the last positive with the same score"""
    above: NDArray[np.int64]
    """(positive,) gaps with a higher score"""
    through: NDArray[np.int64]
    """(positive,) and those with the same score"""
    sizes: Floats
    """(gap,) negatives"""

    @classmethod
    def of(cls, positive: Floats, negative: Floats) -> _Order:
        high, low = np.sort(-positive), np.sort(-negative)
        above, through = (np.searchsorted(low, high, side=side) for side in ("left", "right"))
        edges = np.unique(np.r_[0, above, through, len(low)])
        tied = np.searchsorted(high, high, side="right") - 1
        first, last = np.searchsorted(edges, above), np.searchsorted(edges, through)
        return cls(tied, first, last, np.diff(edges).astype(np.float64))

    @property
    def positives(self) -> int:
        return len(self.tied)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(gap,) its first negative"""
        return np.r_[0, np.cumsum(self.sizes)[:-1]].astype(np.int64)

    def metrics(self, positive: Floats, gaps: Floats, partial_fprs: tuple[float, ...]) -> Floats:
        """(row, metric) of weights (row, positive) and (row, gap): AUC, average precision, partial AUCs."""
        total = gaps.sum(axis=1, keepdims=True)
        through = np.concatenate([np.zeros((len(gaps), 1)), np.cumsum(gaps, axis=1)], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            before, after = through[:, self.above] / total, through[:, self.through] / total
            precision = np.cumsum(positive, axis=1)[:, self.tied]
            precision = np.nan_to_num(precision / (precision + through[:, self.through])) + 0.0 * before
            parts = [1.0 - (before + after) / 2.0, precision]
            parts += [_standardised(before, after, limit) for limit in partial_fprs]
            return np.stack([(positive * part).sum(axis=1) for part in parts], axis=1) / positive.sum(axis=1)[:, None]


def _standardised(before: Floats, after: Floats, limit: float) -> Floats:
    """What a positive adds to the partial AUC: the curve rises from one rate to the other, by a straight line."""
    rising = np.divide((limit - before) ** 2, 2.0 * (after - before), out=np.zeros_like(after), where=after > before)
    raw = np.where(after <= limit, limit - (before + after) / 2.0, np.where(before >= limit, 0.0, rising))
    least = limit**2 / 2.0
    return np.asarray(0.5 * (1.0 + (raw - least) / (limit - least)))


Weights = tuple[Floats, Floats]
"""Weights (row, positive) and (row, gap)."""


def _stratified(order: _Order, replicates: int, rng: np.random.Generator) -> Iterator[Weights]:
    chances = order.sizes / order.sizes.sum()
    for rows in _chunks(replicates, order.positives + len(chances)):
        yield _draws(order.positives, rows, rng), rng.multinomial(int(order.sizes.sum()), chances, rows).astype(float)


def _clustered(order: _Order, codes: _Codes, replicates: int, rng: np.random.Generator) -> Iterator[Weights]:
    """`codes`: the cluster of each positive, and of each negative, in the order of the scores."""
    count = 1 + max(int(each.max()) for each in codes)
    for rows in _chunks(replicates, len(codes[0]) + len(codes[1])):
        drawn = _draws(count, rows, rng)
        yield drawn[:, codes[0]], np.add.reduceat(drawn[:, codes[1]], order.starts, axis=1)


_Codes = tuple[NDArray[np.int64], NDArray[np.int64]]


def _without_objects(order: _Order) -> list[Weights]:
    """Weights without one of some groups of positives, and without one of some of negatives."""
    negatives = int(order.sizes.sum())
    first, second = (np.arange(count) % min(count, _GROUPS) for count in (order.positives, negatives))
    lost = first.max() + 1, second.max() + 1
    kept = np.ones((lost[0], order.positives))
    kept[first, np.arange(order.positives)] = 0.0
    gap = np.repeat(np.arange(len(order.sizes)), order.sizes.astype(int))
    gaps = np.tile(order.sizes, (lost[1], 1))
    np.subtract.at(gaps, (second, gap), 1.0)
    return [(kept, np.tile(order.sizes, (lost[0], 1))), (np.ones((lost[1], order.positives)), gaps)]


def _without_clusters(order: _Order, codes: _Codes) -> Weights:
    groups = min(1 + max(int(each.max()) for each in codes), _GROUPS)
    positive, negative = (np.arange(groups)[:, None] != each % groups for each in codes)
    return positive.astype(float), np.add.reduceat(negative.astype(float), order.starts, axis=1)


def _chunks(replicates: int, width: int) -> Iterator[int]:
    step = max(1, _CELLS // width)
    for start in range(0, replicates, step):
        yield min(step, replicates - start)


def weighted_aucs(labels: ArrayLike, scores: ArrayLike, weights: Floats) -> Floats:
    """AUC under each row of weights (replicate, object); NaN where a class has no weight. Ties count half."""
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    _, group = np.unique(s, return_inverse=True)
    positive, negative = (_by_group(weights, y == value, group) for value in (1, 0))
    below = np.cumsum(negative, axis=1) - 0.5 * negative
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1)))


def resampled_weights(
    y: NDArray[np.int_], clusters: ArrayLike | None, replicates: int, rng: np.random.Generator
) -> Iterator[Floats]:
    """Weights (replicate, object) of resamples, some replicates at a time."""
    codes = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    for rows in _chunks(replicates, len(y)):
        if codes is not None:
            yield _draws(int(codes.max()) + 1, rows, rng)[:, codes]
            continue
        weights = np.empty((rows, len(y)))
        for value in (0, 1):
            members = np.flatnonzero(y == value)
            weights[:, members] = _draws(len(members), rows, rng)
        yield weights


def _draws(count: int, rows: int, rng: np.random.Generator) -> Floats:
    """How often each of `count` items is drawn, in each of some resamples of as many."""
    return rng.multinomial(count, np.full(count, 1 / count), rows).astype(np.float64)


def _by_group(weights: Floats, members: NDArray[np.bool_], group: NDArray[np.int_]) -> Floats:
    order = np.argsort(group[members], kind="stable")
    sorted_group = group[members][order]
    starts = np.flatnonzero(np.r_[True, sorted_group[1:] != sorted_group[:-1]])
    out = np.zeros((len(weights), int(group.max()) + 1))
    out[:, sorted_group[starts]] = np.add.reduceat(weights[:, members][:, order], starts, axis=1)
    return out
