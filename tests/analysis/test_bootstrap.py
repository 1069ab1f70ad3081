"""Resampled ranking metrics against scikit-learn on repeated objects, and BCa intervals against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from analysis.statistics.bootstrap import AUC, PRECISION, _Order, bca, resample_ranking


def sample(positives=40, negatives=300, decimals=1, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    return labels, np.round(rng.normal(size=len(labels)) + 1.5 * labels, decimals)


def known(labels, scores, weights=None):
    return [
        roc_auc_score(labels, scores, sample_weight=weights),
        average_precision_score(labels, scores, sample_weight=weights),
        roc_auc_score(labels, scores, sample_weight=weights, max_fpr=0.1),
    ]


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_metrics_of_weights_are_those_of_scikit_learn(decimals):
    labels, scores = sample(decimals=decimals)
    draws = resample_ranking(labels, scores, (0.1,), 3, np.random.default_rng(0))
    np.testing.assert_allclose(draws.whole, known(labels, scores))
    order = _Order.of(scores[labels == 1], scores[labels == 0])
    rng = np.random.default_rng(1)
    of_positive, of_negative = rng.integers(0, 4, 40), rng.integers(0, 4, 300)
    gaps = np.add.reduceat(of_negative.astype(float), order.starts)
    found = order.metrics(of_positive[None].astype(float), gaps[None], (0.1,))[0]
    high, low = (np.argsort(-scores[labels == label], kind="stable") for label in (1, 0))
    weights = np.empty(340)
    weights[np.flatnonzero(labels == 1)[high]] = of_positive
    weights[np.flatnonzero(labels == 0)[low]] = of_negative
    np.testing.assert_allclose(found, known(labels, scores, weights))


def test_objects_left_out_one_by_one_are_a_jackknife():
    labels, scores = sample(12, 30)
    draws = resample_ranking(labels, scores, (), 3, np.random.default_rng(0))
    for label, without in zip((1, 0), draws.left_out, strict=True):
        members = np.flatnonzero(labels == label)
        expected = [roc_auc_score(np.delete(labels, i), np.delete(scores, i)) for i in members]
        np.testing.assert_allclose(np.sort(without[:, 0]), np.sort(expected))


def test_bca_is_that_of_scipy():
    """An AUC near 1, where the percentile interval is another."""
    labels, scores = sample(15, 40, 9, seed=6)
    positive, negative = scores[labels == 1] + 0.8, scores[labels == 0]

    def area(first, second, axis=-1):
        return np.mean(first[..., :, None] > second[..., None, :], axis=(-1, -2))

    draws = resample_ranking(labels, np.r_[positive, negative], (), 20_000, np.random.default_rng(1))
    ours = draws.accelerated(AUC, 0.9)
    method = {"confidence_level": 0.9, "n_resamples": 20_000, "vectorized": True, "batch": 2000}
    theirs = stats.bootstrap((positive, negative), area, rng=np.random.default_rng(2), method="BCa", **method)
    assert ours == pytest.approx(theirs.confidence_interval, abs=0.004)
    assert abs(draws.interval(draws.auc, 0.9)[0] - ours[0]) > 0.008


def test_whole_clusters_are_drawn_and_left_out():
    """Every object five times over: as many clusters as objects, and the interval of the objects alone."""
    labels, scores = sample(30, 90, 9)
    five = np.repeat(np.arange(120), 5)
    made = resample_ranking(labels[five], scores[five], (0.1,), 4000, np.random.default_rng(3), clusters=five)
    alone = resample_ranking(labels, scores, (0.1,), 4000, np.random.default_rng(4), clusters=np.arange(120))
    np.testing.assert_allclose(made.left_out[0], alone.left_out[0])
    for name in (AUC, PRECISION, 0.1):
        assert made.accelerated(name, 0.95) == pytest.approx(alone.accelerated(name, 0.95), abs=0.02)


def test_a_resample_without_a_class_counts_for_nothing():
    labels, scores = np.array([1, 0, 0, 0]), np.array([2.0, 3.0, 1.0, 0.0])
    draws = resample_ranking(labels, scores, (), 200, np.random.default_rng(0), clusters=np.array([0, 1, 2, 3]))
    assert 0.2 < np.isnan(draws.auc).mean() < 0.45, "(3/4)^4 lack the lens"
    assert np.isfinite(draws.accelerated(AUC, 0.95)).all()
    assert np.isnan(bca(1.0, np.ones(20), [np.ones(4)], 0.95)).all()
