"""Limits at an uncertain threshold: the quantiles that they are made of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import beta

from analysis.statistics import limits


@pytest.mark.parametrize(("scatter", "trials"), [(0.05, 5000), (0.3, 200), (4.0, 8)])
def test_quantiles_of_a_mixture_are_those_of_scipys_distributions(scatter: float, trials: int) -> None:
    """To 2**-31, for mixtures from narrow ones to such that have several peaks."""
    rng = np.random.default_rng(trials)
    share = expit(rng.normal(size=(20, 1)) + scatter * rng.normal(size=(20, 12)))
    a, b, weights = trials * share + 0.5, trials * (1.0 - share) + 0.5, rng.dirichlet(np.ones(12))
    for at in (0.025, 0.975):
        found = limits._quantile(a, b, weights, at)
        below, above = (beta(a, b).cdf((found + side * 2.0**-31)[:, None]) @ weights for side in (-1, 1))
        assert ((below < at) & (at <= above)).all()


def test_where_newtons_method_fails_bisection_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    k = rng.uniform(0.1, 7.9, (30, 12))
    given = k + 0.5, 8.5 - k, rng.dirichlet(np.ones(12)), 0.025
    found = limits._quantile(*given)
    monkeypatch.setattr(limits, "_near_quantile", lambda *each: np.full(30, 0.999))
    np.testing.assert_array_equal(limits._quantile(*given), found)
