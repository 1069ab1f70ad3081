"""Planned samples: against the interval of simulated ones, limits, and the correlation that they rest on."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.statistics.intervals import TABLE_LEVEL, ClusterSums, clustered
from analysis.statistics.planning import expected, host_correlation, needed
from lake.errors import ParameterError
from tests.analysis.coverage import hull


def outcomes(
    rng: np.random.Generator, share: float, correlation: float, uses: int, hosts: int | tuple[int, int]
) -> np.ndarray:
    """Numbers found (host) or (sample, host): beta-binomial, whose outcomes within a host have this correlation."""
    if correlation == 0.0:
        return rng.binomial(uses, share, hosts)
    total = 1.0 / correlation - 1.0
    return rng.binomial(uses, rng.beta(share * total, (1.0 - share) * total, hosts))


def widths(found: np.ndarray, uses: int) -> np.ndarray:
    """Of the intervals of samples (sample, host)."""
    k, m = found.sum(axis=1).astype(float), np.full(len(found), float(found.shape[1]))
    sums = ClusterSums(m, (found**2).sum(axis=1).astype(float), uses * k, uses * uses * m)
    low, high = clustered(k, m * uses, sums, TABLE_LEVEL)
    return high - low


CASES = [(0.1, 0.0, 1), (0.05, 0.3, 5), (0.35, 0.32, 5), (0.5, 0.6, 2)]


@pytest.mark.parametrize(("share", "correlation", "uses"), CASES)
def test_simulated_samples_have_the_planned_width(share, correlation, uses):
    rng = np.random.default_rng(1)
    plan = needed(0.06, share, correlation, uses)
    assert plan.high - plan.low <= 0.06
    assert plan.injections == plan.hosts * uses
    found = outcomes(rng, share, correlation, uses, (300, plan.hosts))
    assert widths(found, uses).mean() == pytest.approx(0.06, rel=0.04)
    fewer = expected(share, correlation, uses, plan.hosts - 1)
    assert fewer.high - fewer.low > 0.06


def test_with_one_use_per_host_it_is_the_interval_of_independent_hosts():
    plan = needed(0.05, 0.2, 0.4, 1)
    assert (plan.low, plan.high) == pytest.approx(hull(0.2 * plan.hosts, plan.hosts))


def test_more_uses_help_as_far_as_outcomes_differ():
    free = {uses: needed(0.05, 0.1, 0.0, uses) for uses in (1, 5)}
    tied = {uses: needed(0.05, 0.1, 0.9, uses) for uses in (1, 5)}
    assert free[5].hosts < 0.3 * free[1].hosts
    assert tied[5].hosts > 0.85 * tied[1].hosts
    assert needed(0.025, 0.1, 0.3, 5).injections == pytest.approx(4 * needed(0.05, 0.1, 0.3, 5).injections, rel=0.1)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.7])
def test_the_correlation_is_that_of_the_simulation(correlation):
    rng, values = np.random.default_rng(2), []
    for _ in range(40):
        parts = []
        for share in (0.05, 0.3, 0.8):
            found = outcomes(rng, share, correlation, 3, 30)
            parts.append(np.concatenate([np.arange(3) < k for k in found]))
        hosts = np.tile(np.repeat(np.arange(30), 3), 3)
        values.append(host_correlation(np.concatenate(parts), hosts, np.repeat([0, 1, 2], 90)))
    assert np.mean(values) == pytest.approx(correlation, abs=0.03)
    assert np.isnan(host_correlation([1, 0, 1], [1, 2, 3], [0, 0, 0]))
    assert np.isnan(host_correlation([], [], []))


def test_impossible_wishes_are_refused():
    with pytest.raises(ParameterError, match="'completeness' must be between 0 and 1"):
        needed(0.05, 1.0, 0.1, 1)
    with pytest.raises(ParameterError, match="'width' must be between 0 and 1"):
        needed(0.0, 0.5, 0.1, 1)
    with pytest.raises(ParameterError, match="'correlation' must be at least 0 and below 1"):
        needed(0.05, 0.5, 1.0, 1)
    with pytest.raises(ParameterError, match="'width' must be one that"):
        needed(1e-6, 0.5, 0.1, 1)
