"""Diagnostic: can a linear probe tell injections from real lenses? The realism gate given with every completeness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from analysis.config import DiagnosticParams
from analysis.diagnostics.subject import Subject
from analysis.records import Measure, Outcome, gate_below, not_measured
from analysis.statistics import roc
from analysis.statistics.bootstrap import resample_ranking
from analysis.statistics.intervals import TABLE_LEVEL, exact
from lake.errors import DataError

Floats = NDArray[np.float64]
_NEWTON_STEPS = 30
_CONVERGED = 1e-6
HEADLINE = "injections_against_listed_lenses"
"""The pair that decides the gate."""
_LEAST_CURVATURE = 1e-6
"""Keeps a Newton step finite where a group is perfectly separated."""


class Population(NamedTuple):
    """Features of one group of stamps and the galaxy each was made from."""

    features: Floats
    """(object, feature): embeddings of the model, or `features.texture_features`."""
    hosts: ArrayLike
    """One identifier per object; objects of one host are never in both train and test of a fold."""


class Params(DiagnosticParams):
    """The linear probe."""

    probe_gate_auc: float = Field(0.85, gt=0.5, lt=1)
    """Linear-probe AUC above which injections differ from real lenses (a realism gap)."""
    probe_folds: int = Field(5, ge=2)
    """Folds of the linear probe, whole hosts apart."""
    probe_components: int = Field(20, ge=1)
    """Principal components kept before the probe; at most one fewer than the objects of the smaller group."""
    probe_permutations: int = Field(1000, ge=1)
    """Label permutations behind the probe's p-value."""
    probe_bootstrap: int = Field(1000, ge=1)
    """Resamples (whole hosts) behind the probe's interval."""
    probe_source_mag_max: float = 24.0
    """Only injections at least this bright (r band, AB mag) enter the probe; the report says so."""


def diagnose(subject: Subject, params: Params) -> Outcome:
    """Injections against listed lenses, with the controls."""
    pairs, space = subject.populations(params)
    return realism_gate(pairs, HEADLINE, space, params, np.random.default_rng(subject.seed))


def linear_probe(
    name: str, a: Population, b: Population, space: str, params: Params, rng: np.random.Generator
) -> list[Measure]:
    """Separate b from a: scaled, projected on principal components, logistic regression in folds of whole hosts.

    `probe_auc` pools the out-of-fold scores; its interval resamples hosts, `probe_p` permutes the labels of whole
    hosts (of each half of a host that is in both groups). `frechet_excess` is the Frechet distance in the principal
    components minus its mean under permuted labels. The projection is fitted without labels, on both groups. Raises
    a DataError if a feature is not finite.
    """
    from sklearn.decomposition import PCA  # imported here: parameters are read without it
    from sklearn.preprocessing import StandardScaler

    values = np.concatenate([a.features, b.features]).astype(np.float64)
    labels = np.r_[np.zeros(len(a.features), int), np.ones(len(b.features), int)]
    hosts = np.unique(np.r_[np.asarray(a.hosts).astype(str), np.asarray(b.hosts).astype(str)], return_inverse=True)[1]
    if not np.isfinite(values).all():
        raise DataError("features of the realism probe must be finite: exclude failed stamps")
    components = min(params.probe_components, values.shape[1], int(min(np.bincount(labels))) - 1)
    projected = PCA(components, random_state=0).fit_transform(StandardScaler().fit_transform(values))
    projected = projected / projected.std(axis=0)
    scores = _out_of_fold(projected, labels, hosts, params.probe_folds)
    draws = resample_ranking(labels, scores, (), params.probe_bootstrap, rng, clusters=hosts)
    low, high = draws.interval(draws.auc, TABLE_LEVEL)
    auc, distance = roc.auc(labels, scores), frechet(projected[labels == 0], projected[labels == 1])
    if np.isnan(low):
        alike = min(len(np.unique(hosts[labels == label])) for label in (0, 1))
        low, high = exact(auc * alike, alike)
    null = [_permuted(projected, labels, hosts, params.probe_folds, rng) for _ in range(params.probe_permutations)]
    null_auc, null_distance = np.array(null).T
    sizes = f"{len(a.features)} + {len(b.features)} objects"
    how = f"{space}, {components} components; {sizes}; folds and bootstrap by host"
    by_chance = f"permuted by host, mean under the null {null_auc.mean():.3f}"
    excess, over = float(distance - null_distance.mean()), "over the permutation mean"
    group, n = f"realism/{name}", len(labels)
    return [
        Measure(f"{group}/probe_auc", auc, min(low, auc), max(high, auc), n, "", how),
        Measure(f"{group}/probe_p", _p_value(null_auc, auc), n=n, method=by_chance),
        Measure(f"{group}/frechet_excess", excess, n=n, method=over),
        Measure(f"{group}/frechet_p", _p_value(null_distance, distance), n=n, method="permuted by host"),
    ]


def _p_value(null: Floats, value: float) -> float:
    """Share of values under the null that are at least as large, counting the value itself."""
    return float((1 + (null >= value).sum()) / (1 + len(null)))


def realism_gate(
    pairs: Mapping[str, tuple[Population, Population]],
    headline: str,
    space: str,
    params: Params,
    rng: np.random.Generator,
) -> Outcome:
    """Probe each named pair and decide on the headline pair (injections against real lenses).

    The other pairs are controls: tier A against tier B, real lenses against matched non-lenses, injections in random
    against injections in matched hosts; without them the gate cannot tell arcs from host galaxies. `space` names the
    feature space. A pair with too few objects is left out and the gate says so.
    """
    measures: list[Measure] = []
    for name, (a, b) in pairs.items():
        if min(len(a.features), len(b.features)) >= 2 * params.probe_folds:
            measures += linear_probe(name, a, b, space, params, rng)
    limit = params.probe_gate_auc
    what = f"linear-probe AUC of {headline.replace('_', ' ')} in the {space}"
    rule = f"{what} < {limit:g}; above, injections differ from lenses by their arcs or their hosts"
    found = [m for m in measures if m.name == f"realism/{headline}/probe_auc"]
    gate = not_measured("realism/linear_probe", limit, f"{rule}; too few objects")
    if found:
        gate = gate_below("realism/linear_probe", found[0], limit, rule)
    return Outcome("realism", tuple(measures), (gate,))


def frechet(a: Floats, b: Floats) -> float:
    """Frechet distance of two Gaussians fitted to the rows (in a space of fewer dimensions than rows)."""
    cov_a, cov_b = np.atleast_2d(np.cov(a.T)), np.atleast_2d(np.cov(b.T))
    root = np.sqrt(np.maximum(np.real(np.linalg.eigvals(cov_a @ cov_b)), 0.0)).sum()
    shift = a.mean(axis=0) - b.mean(axis=0)
    return float(shift @ shift + np.trace(cov_a + cov_b) - 2.0 * root)


def _out_of_fold(values: Floats, labels: NDArray[np.int_], hosts: NDArray[np.int_], folds: int) -> Floats:
    scores = np.empty(len(labels))
    fold = _folds(labels, hosts, folds)
    for i in range(folds):
        test = fold == i
        weights = logistic_weights(values[~test], labels[~test])
        scores[test] = values[test] @ weights[1:] + weights[0]
    return scores


def logistic_weights(values: Floats, labels: NDArray[np.int_]) -> Floats:
    """Intercept and slopes of a logistic regression, balanced classes, unit ridge on the slopes, by Newton steps.

    The problem of scikit-learn's `LogisticRegression(class_weight="balanced")`, solved fast enough for permutations.
    """
    design = np.column_stack([np.ones(len(values)), values])
    counts = np.maximum(np.bincount(labels, minlength=2), 1)
    weight = (len(labels) / (2.0 * counts))[labels]
    ridge = np.diag(np.r_[0.0, np.ones(values.shape[1])])
    solution = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (design @ solution)))
        gradient = design.T @ (weight * (p - labels)) + ridge @ solution
        curvature = (design * (weight * np.maximum(p * (1.0 - p), _LEAST_CURVATURE))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        solution = solution - step
        if np.abs(step).max() < _CONVERGED:
            break
    return solution


def _folds(labels: NDArray[np.int_], hosts: NDArray[np.int_], folds: int) -> NDArray[np.int_]:
    """Fold of each object: whole hosts, dealt in turn within each label, in a fixed shuffled order."""
    unique, first = np.unique(hosts, return_index=True)
    order = np.random.default_rng(0).permutation(len(unique))
    by_label = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(unique), dtype=np.int64)
    fold[by_label] = np.arange(len(unique)) % folds
    return fold[np.searchsorted(unique, hosts)]


def _permuted(
    values: Floats, labels: NDArray[np.int_], hosts: NDArray[np.int_], folds: int, rng: np.random.Generator
) -> tuple[float, float]:
    _, first, block = np.unique(2 * hosts + labels, return_index=True, return_inverse=True)
    shuffled = rng.permutation(labels[first])[block]
    if min(np.bincount(shuffled, minlength=2)) < 2 * folds:
        return 0.5, 0.0
    scores = _out_of_fold(values, shuffled, hosts, folds)
    return roc.auc(shuffled, scores), frechet(values[shuffled == 0], values[shuffled == 1])
