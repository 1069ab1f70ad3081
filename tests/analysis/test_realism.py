"""The realism probe on populations whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis.diagnostics.realism import Population, frechet, linear_probe, logistic_weights, realism_gate
from lake.errors import DataError
from tests.analysis.outcomes import measure, status


def population(rng, n, shift=0.0, per_host=1, prefix="h"):
    hosts = np.repeat([f"{prefix}{i}" for i in range(n // per_host)], per_host)
    return Population(rng.normal(size=(n, 12)) + shift, hosts)


def probed(a, b, params, rng):
    """AUC of the probe, and its p-value."""
    area, p_value, *_ = linear_probe("pair", a, b, "embedding", params, rng)
    assert (area.name, p_value.name) == ("realism/pair/probe_auc", "realism/pair/probe_p")
    return area, p_value


def test_equal_populations_pass_the_probe(diagnose):
    rng = np.random.default_rng(1)
    area, p_value = probed(population(rng, 80, prefix="a"), population(rng, 80, prefix="b"), diagnose, rng)
    assert area.value == pytest.approx(0.5, abs=0.12)
    assert p_value.value > 0.04
    assert area.low <= area.value <= area.high


def test_different_populations_fail_the_probe(diagnose):
    rng = np.random.default_rng(1)
    pairs = {
        "injections_against_listed_lenses": (population(rng, 80, prefix="a"), population(rng, 80, 0.9, prefix="b")),
        "tier_a_against_tier_b": (population(rng, 80, prefix="a"), population(rng, 60, prefix="b")),
        "too_few": (population(rng, 3), population(rng, 80)),
    }
    outcome = realism_gate(pairs, "injections_against_listed_lenses", "embedding", diagnose, rng)
    assert status(outcome, "realism/linear_probe") == "FAIL"
    assert measure(outcome, "realism/injections_against_listed_lenses/probe_p").value < 0.06
    assert not any("too_few" in m.name for m in outcome.measures)
    absent = realism_gate({}, "injections_against_listed_lenses", "embedding", diagnose, rng)
    assert status(absent, "realism/linear_probe") == "NOT MEASURED"


def test_hosts_are_never_split_between_folds(diagnose):
    """Ten stamps of each host look alike: a probe with leaking folds would tell pure noise apart."""
    rng = np.random.default_rng(2)

    def shared(prefix):
        hosts = np.repeat([f"{prefix}{i}" for i in range(12)], 10)
        return Population(
            np.repeat(rng.normal(size=(12, 12)) * 3, 10, axis=0) + rng.normal(size=(120, 12)) * 0.1, hosts
        )

    area, _ = probed(shared("a"), shared("b"), diagnose, rng)
    assert area.value < 0.9
    assert area.high - area.low > 0.2


def test_logistic_weights_equal_sklearn():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(200, 5))
    labels = (values[:, 0] + rng.normal(size=200) > 0.8).astype(int)
    model = LogisticRegression(class_weight="balanced", tol=1e-10).fit(values, labels)
    expected = np.r_[model.intercept_, model.coef_[0]]
    assert logistic_weights(values, labels) == pytest.approx(expected, abs=1e-5)


def test_frechet_of_known_gaussians():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40_000, 3)), 2 * rng.normal(size=(40_000, 3)) + np.array([1.0, 0, 0])
    assert frechet(a, b) == pytest.approx(1.0 + 3 * (1 - 2) ** 2, rel=0.03)
    with pytest.raises(DataError, match="must be finite"):
        probed(Population(np.full((40, 12), np.nan), range(40)), population(rng, 40), None, rng)
