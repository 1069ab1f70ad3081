"""Coverage where hosts are used several times, computed exactly, beside the most that any interval can reach."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from analysis.statistics.intervals import ClusterSums, clustered, design_effect
from tests.analysis.cells import cluster_sums
from tests.analysis.coverage import coverage, outcomes
from tests.analysis.severaluses import BAR, CORRELATIONS, cells, exact_coverage, most_inside, one_more, table


def test_the_law_of_the_sums_is_that_of_all_outcomes():
    """Of three hosts used twice, one outcome after the other; and the probabilities of many hosts add up to one."""
    found = cells(3, 2, 0.3)
    for correlation, chance in zip(CORRELATIONS, found.chance, strict=True):
        one, expected = outcomes(2, 0.3, correlation), dict.fromkeys(zip(found.found, found.squares, strict=True), 0.0)
        for each in product(range(3), repeat=3):
            expected[sum(each), sum(k * k for k in each)] += np.prod(one[list(each)])
        np.testing.assert_allclose(chance, list(expected.values()), atol=1e-12)
    np.testing.assert_allclose(cells(200, 3, 0.05).chance.sum(axis=1), 1.0, atol=1e-5)


def test_exact_coverage_is_that_of_simulations():
    rng = np.random.default_rng(1)
    simulated = [coverage(rng, 0.05, correlation, 50, 3, 8000) for correlation in CORRELATIONS]
    assert exact_coverage(50, 3, 0.05) == pytest.approx(simulated, abs=0.008)


@pytest.mark.parametrize(
    ("hosts", "uses", "rate"), [(20, 4, 0.05), (35, 2, 0.1), (35, 4, 0.02), (50, 5, 0.02), (100, 5, 0.01)]
)
def test_coverage_is_within_the_bar_at_every_correlation(hosts, uses, rate):
    """With one design effect for both limits, drawn towards agreeing hosts, it is above 97 % at each."""
    held = exact_coverage(hosts, uses, rate)
    assert ((held >= BAR[0]) & (held <= BAR[1])).all(), held


def test_no_interval_is_within_the_bar_everywhere():
    """With 20 hosts of five and a rate of 1 % none that rises with the number found is at a correlation of 0: a total
    of 3 and more is found too often, one of 4 and more too rarely. Without that condition one is."""
    assert most_inside(20, 5, 0.01) == len(CORRELATIONS) - 1
    assert most_inside(20, 5, 0.01, rising=False) == len(CORRELATIONS)
    assert most_inside(35, 2, 0.05) == len(CORRELATIONS)


def test_one_more_found_is_one_more_in_some_host():
    """Of two hosts used twice: none, 1, 2 or 1 + 1, 1 + 2, all; from 2 alone only a find in the other host."""
    found, squares = np.array([0, 1, 2, 2, 3, 4]), np.array([0, 1, 2, 4, 5, 8])
    pairs = one_more(2, 2, found, squares)
    assert sorted(map(tuple, pairs.T.tolist())) == [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4), (4, 5)]


def test_the_lower_limit_of_few_found_takes_the_correlation_that_they_show():
    """Twelve single finds show none: their design effect is 1, and only that of the upper limit is drawn to five."""
    single, paired = np.r_[np.ones(12), np.zeros(88)], np.r_[np.full(6, 2), np.zeros(94)]
    (low,), (high,) = design_effect(12, 500, cluster_sums(single, np.full(100, 5)))
    assert low == pytest.approx(1.0, abs=0.005)
    assert high > 1.1
    (low,), (high,) = design_effect(12, 500, cluster_sums(paired, np.full(100, 5)))
    assert 1.0 < low < 2.0 < high


def test_limits_of_few_found_and_of_few_missed_mirror_each_other():
    found = np.random.default_rng(3).binomial(5, 0.04, (40, 60))
    size = np.full(40, 60.0)

    def limits(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums = ClusterSums(size, (k**2.0).sum(axis=1), 5.0 * k.sum(axis=1), 25.0 * size)
        return clustered(k.sum(axis=1), 5.0 * size, sums, 0.95)

    low, high = limits(found)
    mirrored_low, mirrored_high = limits(5 - found)
    np.testing.assert_allclose(mirrored_low, 1.0 - high, atol=1e-10)
    np.testing.assert_allclose(mirrored_high, 1.0 - low, atol=1e-10)


@pytest.mark.slow
def test_the_documented_bounds_are_reproduced():
    page = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
    for name, settings, *most, inside, lowest in table():
        row = f"| {name} | {settings} | {most[0] or '-'} | {most[1] or '-'} | {inside} | {100.0 * lowest:.1f} |"
        assert row in page.splitlines()
