"""Can a linear classifier tell two groups of objects apart? Out-of-fold scores, their interval and permutations.

Objects come from hosts (galaxies); folds, resamples and permutations keep the objects of one host together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.statistics.bootstrap import resample_ranking
from analysis.statistics.intervals import TABLE_LEVEL, exact
from analysis.statistics.roc import auc
from lake.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int_]

_NEWTON_STEPS = 30
_CONVERGED = 1e-6
_LEAST_CURVATURE = 1e-6
"""Keeps a Newton step finite where a group is perfectly separated."""
_NO_VARIANCE = 1e-9
"""Components with less than this share of the largest one's standard deviation are rounding."""
_CELLS = 20_000_000
"""Numbers held at once while permutations are solved together (160 MB)."""


@dataclass(frozen=True)
class Groups:
    """Two groups of objects in the leading principal components of their features, each scaled to unit variance."""

    values: Floats
    """(object, component)"""
    spread: Floats
    """Standard deviation (component) before the scaling to unit variance"""
    labels: Ints
    """0 for the first group, 1 for the second"""
    hosts: Ints
    """Number of the host that each object comes from"""

    @classmethod
    def of(cls, features: tuple[ArrayLike, ArrayLike], hosts: tuple[ArrayLike, ArrayLike], components: int) -> Groups:
        """Project two groups of features (object, feature) together, without regard to the group.

        At most one component fewer than the objects of the smaller group is kept. DataError if a feature is not finite.
        """
        parts = [np.asarray(part, dtype=np.float64) for part in features]
        labels = np.repeat([0, 1], [len(part) for part in parts])
        names = np.concatenate([np.asarray(part).astype(str) for part in hosts])
        most = min(components, min(len(part) for part in parts) - 1)
        values = principal(np.concatenate(parts), most)
        spread = values.std(axis=0)
        return cls(
            values / np.where(spread > 0.0, spread, 1.0), spread, labels, np.unique(names, return_inverse=True)[1]
        )

    @cached_property
    def paired(self) -> bool:
        """Whether every host has objects in both groups."""
        count = int(self.hosts.max()) + 1
        return all(len(np.unique(self.hosts[self.labels == label])) == count for label in (0, 1))

    def permuted(self, rng: np.random.Generator) -> Ints:
        """Labels under the hypothesis that the groups do not differ.

        Of pairs each host's two halves are swapped or not; otherwise labels are dealt anew to hosts (to each half of a
        host that is in both groups).
        """
        if self.paired:
            return self.labels ^ rng.integers(0, 2, int(self.hosts.max()) + 1)[self.hosts]
        first, block = self._halves
        return np.asarray(rng.permutation(self.labels[first])[block])

    @cached_property
    def _halves(self) -> tuple[Ints, Ints]:
        """The first object of each host in each group, and the place of each object among these."""
        return np.unique(2 * self.hosts + self.labels, return_index=True, return_inverse=True)[1:]


@dataclass(frozen=True)
class Probe:
    """How well the groups are told apart."""

    auc: float
    low: float
    high: float
    """95 % interval: a bootstrap of hosts over the out-of-fold scores"""
    p: float
    """Share of permutations with at least this AUC, counting the observed one"""
    null_auc: float
    """Mean AUC of the permutations"""
    scores: Floats
    """Out-of-fold score of each object"""


def principal(values: Floats, components: int) -> Floats:
    """The leading principal components (object, component) of features scaled to unit variance.

    DataError if a feature is not finite.
    """
    if not np.isfinite(values).all():
        raise DataError("features of the realism probe must be finite: exclude failed stamps")
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    left, singular, _ = np.linalg.svd(scaled, full_matrices=False)
    held = max(1, min(components, int((singular > _NO_VARIANCE * singular[0]).sum())))
    return np.asarray(left[:, :held] * singular[:held])


def probe(groups: Groups, folds: int, permutations: int, replicates: int, rng: np.random.Generator) -> Probe:
    """Logistic regression in folds of whole hosts, its pooled out-of-fold AUC, interval and permutation p-value."""
    (scores,) = out_of_fold(groups.values, groups.labels[None], groups.hosts, folds)
    value = auc(groups.labels, scores)
    draws = resample_ranking(groups.labels, scores, (), replicates, rng, clusters=groups.hosts)
    low, high = draws.interval(draws.auc, TABLE_LEVEL)
    if np.isnan(low):
        alike = min(len(np.unique(groups.hosts[groups.labels == label])) for label in (0, 1))
        low, high = exact(value * alike, alike)
    shuffled = np.stack([groups.permuted(rng) for _ in range(permutations)])
    null = null_aucs(groups, shuffled, folds)
    return Probe(value, min(low, value), max(high, value), p_value(null, value), float(null.mean()), scores)


def null_aucs(groups: Groups, shuffled: Ints, folds: int) -> Floats:
    """AUC of the whole procedure under each row of permuted labels; 0.5 where a group has too few objects."""
    from scipy.stats import rankdata

    counts = shuffled.sum(axis=1)
    enough = np.minimum(counts, shuffled.shape[1] - counts) >= 2 * folds
    found = np.full(len(shuffled), 0.5)
    width = groups.values.shape[1] + 1
    step = max(1, _CELLS // (len(groups.labels) * 4 + width**2))
    for start in range(0, len(shuffled), step):
        rows = np.flatnonzero(enough[start : start + step]) + start
        if not len(rows):
            continue
        ranks = rankdata(out_of_fold(groups.values, shuffled[rows], groups.hosts, folds), axis=1)
        positive = counts[rows]
        sums = (ranks * shuffled[rows]).sum(axis=1) - positive * (positive + 1) / 2.0
        found[rows] = sums / (positive * (shuffled.shape[1] - positive))
    return found


def p_value(null: Floats, value: float) -> float:
    """Share of values under the null that are at least as large, counting the value itself."""
    return float((1 + (null >= value - 1e-12).sum()) / (1 + len(null)))


def out_of_fold(values: Floats, labels: Ints, hosts: Ints, folds: int) -> Floats:
    """Scores (labelling, object): for each row of ``labels``, of models that were fitted without the object's host."""
    fold = dealt(labels, hosts, folds)
    design = np.column_stack([np.ones(len(values)), values])
    scores = np.empty(labels.shape)
    for i in range(folds):
        weights = logistic_weights(values, labels, fold != i)
        scores = np.where(fold == i, weights @ design.T, scores)
    return scores


def logistic_weights(values: Floats, labels: Ints, used: NDArray[np.bool_]) -> Floats:
    """Intercept and slopes (labelling, 1 + component) of logistic regressions on the ``used`` objects of each row.

    Classes are balanced, slopes have a unit ridge: the problem of scikit-learn's
    `LogisticRegression(class_weight="balanced")`, solved by Newton steps for many labellings at once.
    """
    design = np.column_stack([np.ones(len(values)), values])
    width = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(values), -1)
    ones, total = (labels * used).sum(axis=1, keepdims=True), used.sum(axis=1, keepdims=True)
    weight = used * np.where(
        labels == 1, total / (2.0 * np.maximum(ones, 1)), total / (2.0 * np.maximum(total - ones, 1))
    )
    ridge = np.diag(np.r_[0.0, np.ones(width - 1)])
    solution = np.zeros((len(labels), width))
    for _ in range(_NEWTON_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (solution @ design.T)))
        gradient = (weight * (p - labels)) @ design + solution @ ridge
        curvature = (weight * np.maximum(p * (1.0 - p), _LEAST_CURVATURE)) @ products
        step = np.linalg.solve(curvature.reshape(-1, width, width) + ridge, gradient[:, :, None])[:, :, 0]
        solution = solution - step
        if np.abs(step).max() < _CONVERGED:
            break
    return solution


def dealt(labels: Ints, hosts: Ints, folds: int) -> Ints:
    """Fold of each object (..., object) of each labelling (..., object): whole hosts, dealt in turn within each label,
    in a fixed shuffled order."""
    unique, first, place = np.unique(hosts, return_index=True, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(unique))
    by_label = order[np.argsort(labels[..., first[order]], axis=-1, kind="stable")]
    fold = np.empty(by_label.shape, dtype=np.int64)
    np.put_along_axis(fold, by_label, np.broadcast_to(np.arange(len(unique)) % folds, fold.shape), axis=-1)
    return np.asarray(fold[..., place])
