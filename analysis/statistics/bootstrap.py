"""Bootstrap of ranking metrics by weights on the sorted scores: stratified by class, or by cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.roc import labelled, partial_auc_of_curve

Floats = NDArray[np.float64]
_CELLS = 4_000_000
"""Weights held at once (32 MB)."""


@dataclass(frozen=True)
class RankingReplicates:
    """Bootstrap replicates, one row each."""

    auc: Floats
    partial_auc: dict[float, Floats]
    """McClish-standardised."""

    def interval(self, values: Floats, level: float) -> tuple[float, float]:
        """Percentile interval of one of the metrics; NaN if all replicates agree, which carries no information."""
        tail = (1.0 - level) / 2.0
        low, high = np.nanquantile(values, [tail, 1.0 - tail])
        return (float(low), float(high)) if low < high else (float("nan"), float("nan"))


def resample_ranking(
    labels: ArrayLike,
    scores: ArrayLike,
    partial_fprs: tuple[float, ...],
    replicates: int,
    rng: np.random.Generator,
    clusters: ArrayLike | None = None,
) -> RankingReplicates:
    """Replicates of AUC and partial AUC.

    Without `clusters` positives and negatives are resampled separately (stratified); with them, whole clusters are
    drawn (HEALPix pixels, hosts), for scores that are correlated within a cluster.
    """
    labelled(labels, scores)
    y, s = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    _, group = np.unique(-s, return_inverse=True)
    found = []
    for weights in resampled_weights(y, clusters, replicates, rng):
        positive, negative = _by_group(weights, y == 1, group), _by_group(weights, y == 0, group)
        found += [_metrics(*pair, partial_fprs) for pair in zip(positive, negative, strict=True)]
    area, *partial = np.array(found).T
    return RankingReplicates(area, dict(zip(partial_fprs, partial, strict=True)))


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
    step = max(1, _CELLS // len(y))
    codes = None if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
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


def _metrics(positive: Floats, negative: Floats, partial_fprs: tuple[float, ...]) -> list[float]:
    """AUC, and the standardised partial AUC at each rate, of weights per distinct score."""
    total_positive, total_negative = positive.sum(), negative.sum()
    if total_positive == 0 or total_negative == 0:
        return [np.nan] * (1 + len(partial_fprs))
    tpr = np.append(0.0, np.cumsum(positive) / total_positive)
    fpr = np.append(0.0, np.cumsum(negative) / total_negative)
    partial = [partial_auc_of_curve(fpr, tpr, limit).standardised for limit in partial_fprs]
    return [float(np.trapezoid(tpr, fpr)), *partial]
