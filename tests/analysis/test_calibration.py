"""Calibration measures against sklearn, hand-made cases and limits."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from analysis.statistics import calibration as cal
from lake.errors import DataError, ParameterError


def calibrated(n=60_000, seed=0, exponent=3.0):
    rng = np.random.default_rng(seed)
    p = rng.random(n) ** exponent
    return (rng.random(n) < p).astype(int), p


def test_curve_equals_sklearn():
    y, p = calibrated(5000)
    ours = cal.reliability(y, p, 15, 0.95)
    observed, predicted = calibration_curve(y, p, n_bins=15)
    kept = ours.count > 0
    assert ours.observed[kept] == pytest.approx(observed)
    assert ours.predicted[kept] == pytest.approx(predicted)


@pytest.mark.parametrize("weighted_by", ["count", "positives"])
def test_calibration_errors_follow_from_sklearns_curve(weighted_by):
    y, p = calibrated(4000, seed=3)
    observed, predicted = calibration_curve(y, p, n_bins=15)
    sizes = np.histogram(p, np.linspace(0, 1, 16), weights=None if weighted_by == "count" else y)[0]
    ours = cal.reliability(y, p, 15, 0.95)
    gap, weights = np.abs(observed - predicted), getattr(ours, weighted_by)
    assert weights.tolist() == sizes.tolist()
    assert cal.calibration_error(ours, weights) == pytest.approx(np.average(gap, weights=sizes))
    assert cal.maximum_error(ours, weights) == pytest.approx(gap.max())
    observed, predicted = calibration_curve(y, p, n_bins=10, strategy="quantile")
    equal = cal.adaptive_reliability(y, p, 10, 0.95)
    assert equal.observed == pytest.approx(observed)
    assert equal.predicted == pytest.approx(predicted)


def test_calibrated_probabilities_have_no_error():
    y, p = calibrated()
    curve = cal.reliability(y, p, 15, 0.95)
    assert cal.calibration_error(curve, curve.count) < 0.01
    assert cal.maximum_error(curve, curve.count) < 0.04
    slope, intercept = cal.cox(y, p)
    assert (slope, intercept) == pytest.approx((1.0, 0.0), abs=0.05)
    held = (curve.low <= curve.predicted) & (curve.predicted <= curve.high)
    assert held.mean() > 0.75


def test_two_bins_by_hand():
    y, p = [0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8]
    curve = cal.reliability(y, p, 2, 0.95)
    assert cal.calibration_error(curve, curve.count) == pytest.approx(0.5 * 0.2 + 0.5 * 0.3)
    assert cal.maximum_error(curve, curve.count) == pytest.approx(0.3)
    assert cal.calibration_error(curve, curve.positives) == pytest.approx(0.3)
    assert cal.maximum_error(curve, curve.positives) == pytest.approx(0.3)
    assert curve.count.tolist() == [2, 2]


def test_overconfidence_hides_in_the_overall_error():
    """Logits 2.2 times too large at 1 : 93: the overall ECE is small, the one above p = 0.01 is not."""
    rng = np.random.default_rng(1)
    logit = rng.normal(-7.5, 3.0, 200_000)
    y = (rng.random(200_000) < 1 / (1 + np.exp(-logit))).astype(int)
    p = 1 / (1 + np.exp(-2.2 * logit))
    curves = cal.reliability(y, p, 15, 0.95), cal.reliability(y[p > 0.01], p[p > 0.01], 15, 0.95)
    overall, inside = (cal.calibration_error(curve, curve.count) for curve in curves)
    assert overall < 0.02
    assert inside > 5 * overall
    assert cal.cox(y, p)[0] == pytest.approx(1 / 2.2, rel=0.05)


def test_proper_scores_equal_sklearn():
    y, p = calibrated(2000)
    assert cal.brier(y, p)[0] == pytest.approx(brier_score_loss(y, p))
    assert cal.log_loss(y, p)[0] == pytest.approx(sklearn_log_loss(y, p))
    base = np.full(2000, y.mean())
    assert cal.brier(y, base)[1] == pytest.approx(0.0, abs=1e-12)
    assert cal.log_loss(y, base)[1] == pytest.approx(0.0, abs=1e-12)


def test_edges():
    curve = cal.reliability([0, 1], [0.0, 1.0], 15, 0.95)
    assert (curve.count[0], curve.count[-1], curve.count.sum()) == (1, 1, 2)
    assert np.isnan(curve.predicted[7])
    assert cal.calibration_error(curve, curve.count) == 0.0


def test_adaptive_bins_hold_equal_numbers():
    y, p = calibrated(1500)
    assert set(cal.adaptive_reliability(y, p, 15, 0.95).count) == {100}


def test_refusals():
    with pytest.raises(ParameterError, match="logits must pass through a sigmoid"):
        cal.reliability([0, 1], [-3.0, 4.0], 15, 0.95)
    with pytest.raises(DataError, match="no objects"):
        cal.brier([], [])
    assert np.isnan(cal.cox([1, 1], [0.2, 0.3])).all()


def test_a_slope_that_no_finite_value_fits_is_not_given():
    """Separable or quasi-separable classes (Albert & Anderson 1984), one probability for all; else a logit fit."""
    nothing = ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]), ([0, 1, 0, 1], [0.3] * 4)
    for y, p in (*nothing, ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9])):
        assert np.isnan(cal.cox(y, p)).all()
    y, p = np.array([0, 1, 0, 1, 0, 1]), np.array([0.1, 0.2, 0.5, 0.6, 0.7, 0.9])
    fit = sm.Logit(y, sm.add_constant(np.log(p / (1 - p)))).fit(disp=0)
    assert cal.cox(y, p) == pytest.approx((fit.params[1], fit.params[0]), abs=1e-4)


def test_one_class_has_no_skill():
    for y in ([1, 1, 1], [0, 0, 0]):
        value, skill = cal.log_loss(y, [0.2, 0.3, 0.4])
        assert value == pytest.approx(sklearn_log_loss(y, [0.2, 0.3, 0.4], labels=[0, 1]))
        assert np.isnan(skill)
