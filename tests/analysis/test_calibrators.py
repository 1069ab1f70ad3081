"""Calibrators against statsmodels and scikit-learn, on scores whose truth is known, and in their limits."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from analysis.statistics.calibration import cox, log_loss
from analysis.statistics.calibrators import METHODS, fitted, shifted
from lake.errors import DataError, ParameterError


def scored(count=4000, share=0.2, slope=2.2, seed=0):
    """Labels and logits of a finder that is overconfident by the factor `slope`; its true logits are normal."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < share).astype(int)
    true = rng.normal(size=count) * 2.0 + 4.0 * labels - 2.0 + logit(share)  # log-odds of two normals, shifted
    return labels, slope * true


def test_platt_is_the_logistic_regression_of_statsmodels():
    labels, logits = scored(900)
    found = fitted("platt", labels, logits)
    known = sm.Logit(labels, sm.add_constant(logits)).fit(disp=0).params
    assert (found.c, found.a) == pytest.approx(tuple(known), rel=1e-4)
    assert found.a == found.b


def test_beta_is_the_regression_of_statsmodels_on_both_logarithms():
    labels, logits = scored(900)
    x = np.stack([np.log(expit(logits)), -np.log1p(-expit(np.minimum(logits, 30.0)))], axis=1)
    known = sm.Logit(labels, sm.add_constant(x)).fit(disp=0, maxiter=200).params
    found = fitted("beta", labels, logits)
    assert (found.c, found.a, found.b) == pytest.approx(tuple(known), rel=2e-3)


def test_a_negative_coefficient_of_beta_is_left_out():
    """Above a logit of 0 the share of lenses falls again: no map that rises has a coefficient there."""
    rng = np.random.default_rng(2)
    logits = rng.uniform(-4.0, 4.0, 3000)
    labels = (rng.random(3000) < expit(1.5 - np.abs(logits))).astype(int)
    found = fitted("beta", labels, logits)
    assert min(found.a, found.b) == 0.0
    assert (np.diff(found.apply(np.linspace(-6.0, 6.0, 50))) >= 0.0).all()


def test_temperature_is_that_of_scikit_learn():
    labels, logits = scored(900)
    network = LogisticRegression(C=np.inf).fit(logits[:, None], labels)
    network.coef_[:], network.intercept_[:] = 1.0, 0.0
    made = CalibratedClassifierCV(FrozenEstimator(network), method="temperature").fit(logits[:, None], labels)
    known = made.predict_proba(logits[:, None])[:, 1]
    np.testing.assert_allclose(fitted("temperature", labels, logits).apply(logits), known, atol=2e-4)


def test_isotonic_is_that_of_scikit_learn_but_at_its_ends():
    labels, logits = scored(500)
    known = IsotonicRegression(out_of_bounds="clip").fit(logits, labels)
    at = np.linspace(logits.min() - 3.0, logits.max() + 3.0, 2000)
    found, plain = fitted("isotonic", labels, logits).apply(at), known.predict(at)
    inside = (plain > 0.05) & (plain < 0.85)
    np.testing.assert_allclose(found[inside], plain[inside])
    assert (plain.min(), plain.max()) == (0.0, 1.0)


def test_the_ends_of_isotonic_follow_laplaces_rule_of_succession():
    labels, logits = scored(500)
    found = fitted("isotonic", labels, logits)
    lowest = int((logits < logits[labels == 1].min()).sum())
    highest = int((logits > logits[labels == 0].max()).sum())
    assert min(lowest, highest) > 20
    assert found.probabilities[0] == pytest.approx(1.0 / (lowest + 2.0))
    assert found.probabilities[-1] == pytest.approx((highest + 1.0) / (highest + 2.0))
    apart = fitted("isotonic", [0, 0, 0, 1, 1], [0.0, 1.0, 2.0, 3.0, 4.0])
    assert (apart.probabilities[0], apart.probabilities[-1]) == pytest.approx((0.2, 0.75))


def test_isotonic_is_about_as_good_as_platt_where_platt_is_right():
    """Folds of 100 lenses and 300 negatives: without the ends' rule its loss is half as large again."""
    losses = {"platt": [], "isotonic": [], "plain": []}
    for seed in range(20):
        labels, logits = scored(400, 0.25, seed=seed)
        others, theirs = scored(4000, 0.25, seed=1000 + seed)
        for method in ("platt", "isotonic"):
            losses[method].append(log_loss(others, fitted(method, labels, logits).apply(theirs))[0])
        plain = IsotonicRegression(out_of_bounds="clip").fit(logits, labels).predict(theirs)
        losses["plain"].append(log_loss(others, plain)[0])
    platt, isotonic, plain = (np.mean(losses[name]) for name in ("platt", "isotonic", "plain"))
    assert isotonic < 1.1 * platt
    assert plain > 1.4 * platt


@pytest.mark.parametrize("method", METHODS)
def test_calibrated_on_one_sample_it_is_calibrated_on_another(method):
    labels, logits = scored(6000)
    others, theirs = scored(20_000, seed=1)
    slope, intercept = cox(others, np.clip(fitted(method, labels, logits).apply(theirs), 1e-3, 1.0 - 1e-3))
    assert (slope, intercept) == pytest.approx((1.0, 0.0), abs=0.16)
    assert cox(others, expit(theirs))[0] < 0.55


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_objects_stays(method):
    labels, logits = scored(400)
    found = fitted(method, labels, logits)
    assert (np.diff(found.apply(np.sort(logits))) >= 0.0).all()
    assert np.isfinite(found.apply(np.array([-1e4, -800.0, 800.0, 1e4]))).all()


def test_a_shift_makes_probabilities_hold_on_a_sky_with_fewer_lenses():
    labels, logits = scored(20_000, share=0.3)
    found = fitted("platt", labels, logits)
    assert found.share == pytest.approx(0.3, abs=0.01)
    rng = np.random.default_rng(3)
    kept = (labels == 0) | (rng.random(20_000) < 0.05)
    share = labels[kept].mean()
    sky = shifted(found.apply(logits), found.share, share)
    assert sky[kept].sum() == pytest.approx(labels[kept].sum(), rel=0.1)
    assert log_loss(labels[kept], sky[kept])[0] < log_loss(labels[kept], found.apply(logits)[kept])[0]
    np.testing.assert_allclose(shifted(sky, share, found.share), found.apply(logits), rtol=1e-6)
    assert shifted([0.3], 0.3, 1 / 94) == pytest.approx([0.0106], abs=5e-5)


def test_what_cannot_be_fitted_says_why():
    with pytest.raises(DataError, match="do not overlap"):
        fitted("platt", [0, 0, 1], [0.0, 1.0, 2.0])
    with pytest.raises(DataError, match="both classes"):
        fitted("isotonic", [1, 1], [0.0, 1.0])
    with pytest.raises(ParameterError, match="'method' must be one of temperature, platt, beta, isotonic"):
        fitted("vennabers", [0, 1], [0.0, 1.0])
    with pytest.raises(ParameterError, match="'to_share' must be between 0 and 1"):
        shifted([0.5], 0.2, 0.0)
