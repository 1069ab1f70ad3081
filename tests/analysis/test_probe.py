"""Logistic probes, distances and their nulls against scikit-learn, closed forms and simulations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from analysis.fitted.embedding import placed
from analysis.fitted.frechet import Sample, _excess, frechet, frechet_excess, frechet_ratio, kernel_distance
from analysis.fitted.probe import Groups, logistic_weights, null_aucs, out_of_fold, probe
from analysis.statistics.bootstrap import weighted_aucs
from analysis.statistics.intervals import median


def two(rng, n, m, dimensions=8, shift=0.0, scale=1.0, components=8):
    """Two groups of Gaussian objects, each in its own host, and their features."""
    features = rng.normal(size=(n, dimensions)), scale * rng.normal(size=(m, dimensions)) + shift
    hosts = [f"a{i}" for i in range(n)], [f"b{i}" for i in range(m)]
    return Groups.of(features, hosts, components), np.concatenate(features)


def test_logistic_weights_equal_sklearn():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 5))
    labels = np.stack([values[:, k] + rng.normal(size=200) > 0.8 for k in range(3)]).astype(int)
    used = rng.random((3, 200)) < 0.7
    found = logistic_weights(values, labels, used)
    for row, label, kept in zip(found, labels, used, strict=True):
        model = LogisticRegression(class_weight="balanced", tol=1e-10).fit(values[kept], label[kept])
        assert row == pytest.approx(np.r_[model.intercept_, model.coef_[0]], abs=1e-5)


def test_many_labellings_give_what_each_gives_alone():
    rng = np.random.default_rng(0)
    groups, _ = two(rng, 30, 40)
    labels = np.stack([groups.permuted(rng) for _ in range(4)])
    together = out_of_fold(groups.values, labels, groups.hosts, 5)
    alone = [out_of_fold(groups.values, row[None], groups.hosts, 5)[0] for row in labels]
    assert together == pytest.approx(np.stack(alone), abs=1e-6)
    aucs = [roc_auc_score(row, scores) for row, scores in zip(labels, alone, strict=True)]
    assert null_aucs(groups, labels, 5) == pytest.approx(aucs)


def test_p_values_of_equal_groups_are_uniform():
    rng = np.random.default_rng(3)
    found = [probe(two(rng, 25, 30)[0], 5, 39, 20, rng).p for _ in range(80)]
    assert np.mean(np.array(found) <= 0.25) == pytest.approx(0.25, abs=0.12)
    assert np.mean(found) == pytest.approx(0.51, abs=0.1)


def test_pairs_are_permuted_as_pairs():
    """Hosts vary a thousand times as much as the two halves of a pair: only swaps within pairs have any power."""
    rng = np.random.default_rng(1)
    base = rng.normal(size=(60, 6)) * 10
    shifted = base + 0.01 * rng.normal(size=base.shape) + np.r_[0.5, np.zeros(5)]
    ids = [f"h{i}" for i in range(60)]
    groups = Groups.of((base, shifted), (ids, ids), 6)
    assert groups.paired
    for _ in range(5):
        labels = groups.permuted(rng)
        assert (np.bincount(groups.hosts, labels) == 1).all()
    assert probe(groups, 5, 199, 20, rng).p < 0.05
    assert not two(rng, 10, 10)[0].paired


def test_weighted_aucs_count_objects_as_often_as_they_weigh():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 60), rng.normal(size=60).round(1)
    weights = rng.multinomial(60, np.full(60, 1 / 60), 20).astype(float)
    for row, found in zip(weights.astype(int), weighted_aucs(labels, scores, weights), strict=True):
        assert found == pytest.approx(roc_auc_score(np.repeat(labels, row), np.repeat(scores, row)))


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40_000, 3)), 2 * rng.normal(size=(40_000, 3)) + np.array([1.0, 0, 0])
    assert frechet(a, b) == pytest.approx(1.0 + 3 * (1 - 2) ** 2, rel=0.03)


def test_distances_of_equal_groups_are_nothing_with_fewer_objects_than_dimensions():
    """The reference's case: a hundred objects in 1,280 dimensions, where the plain distance is large."""
    rng = np.random.default_rng(5)
    groups, features = two(rng, 110, 200, dimensions=1280, components=20)
    values = groups.values * groups.spread
    plain = frechet(values[groups.labels == 0], values[groups.labels == 1])
    distance = frechet_excess(groups, 60, rng)
    assert plain > 10.0
    assert abs(distance.value) < 0.15 * plain
    assert distance.p > 0.02
    kernel = kernel_distance(groups, features, 60, rng)
    assert abs(kernel.value) < 0.05
    assert kernel.p > 0.02


def test_distances_of_different_groups_are_found():
    rng = np.random.default_rng(5)
    groups, features = two(rng, 110, 200, dimensions=300, shift=0.3, components=20)
    assert frechet_excess(groups, 60, rng).p < 0.02
    assert kernel_distance(groups, features, 60, rng).p < 0.02


def test_kernel_distance_is_that_of_the_definition():
    rng = np.random.default_rng(2)
    groups, features = two(rng, 7, 9, dimensions=3)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    a, b = scaled[:7], scaled[7:]

    def mean(x, y, off):
        values = [((p @ q) / 3 + 1) ** 3 for i, p in enumerate(x) for j, q in enumerate(y) if not off or i != j]
        return np.mean(values)

    expected = mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)
    assert kernel_distance(groups, features, 3, rng).value == pytest.approx(expected)


def sample(rng, n, shift, prefix):
    return Sample(rng.normal(size=(n, 5)) + shift * np.eye(5)[0], [f"{prefix}{i}" for i in range(n)])


def test_the_ratio_of_distances_holds_the_truth():
    """One shift is half the other, in one direction and with equal covariances: a ratio of a quarter."""
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        groups = sample(rng, 120, 0.0, "r"), sample(rng, 150, 2.0, "i"), sample(rng, 150, 4.0, "n")
        value, low, high = frechet_ratio(*groups, 5, 30, rng)
        assert low <= value <= high
        inside.append(low <= 0.25 <= high)
    assert np.mean(inside) >= 0.85


def test_the_chance_part_of_a_distance_goes_with_the_number_of_objects():
    """Equal groups: their mean distance at half the size, without its chance part scaled from the full size, is 0."""
    rng = np.random.default_rng(8)

    def draws(n, m):
        return [[rng.normal(size=(n, 5)), rng.normal(size=(m, 5))] for _ in range(150)]

    chance = float(np.mean([frechet(*pair) for pair in draws(200, 240)]))
    left = [_excess(pair, 1, chance, [200, 240]) for pair in draws(100, 120)]
    assert np.mean([frechet(*pair) for pair in draws(100, 120)]) == pytest.approx(2 * chance, rel=0.1)
    assert abs(np.mean(left)) < 0.2 * chance


def test_a_ratio_over_nothing_is_refused():
    rng = np.random.default_rng(1)
    real, other = sample(rng, 100, 0.0, "r"), sample(rng, 100, 3.0, "i")
    assert "do not differ" in frechet_ratio(real, other, sample(rng, 100, 0.0, "n"), 5, 60, rng)
    assert "fewer than 20" in frechet_ratio(sample(rng, 5, 0.0, "r"), other, other, 5, 60, rng)


def test_the_median_interval_covers():
    rng = np.random.default_rng(0)
    found = np.array([median(rng.exponential(size=41)) for _ in range(600)])
    assert np.mean((found[:, 1] <= np.log(2)) & (found[:, 2] >= np.log(2))) == pytest.approx(0.96, abs=0.025)
    assert np.isnan(median([1.0, 2.0, 3.0])[1:]).all()
    assert np.isnan(median([])).all()


def test_the_picture_keeps_clusters_apart_and_is_the_same_again():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(40, 10)), rng.normal(size=(40, 10)) + 6.0])
    places = placed(values, 5, 10, 1)
    assert places.shape == (80, 2)
    np.testing.assert_array_equal(places, placed(values, 5, 10, 1))
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(80, np.inf))
    assert ((apart.argmin(axis=1) < 40) == (np.arange(80) < 40)).all()
