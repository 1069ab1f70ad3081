"""Coverage where hosts are used several times, computed exactly, beside the most that any interval can reach."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from analysis.statistics.intervals import ClusterSums, clustered, design_effect, effective_counts
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
    ("hosts", "uses", "rate"),
    [(20, 4, 0.05), (20, 4, 0.4), (35, 4, 0.02), (50, 5, 0.02), (100, 4, 0.01), (100, 5, 0.01), (100, 5, 0.05)],
)
def test_coverage_is_within_the_bar_at_every_correlation(hosts, uses, rate):
    """With degrees of freedom of the number of hosts it is above 97 % without a correlation (20 hosts; 100 of four).
    So it is with one design effect for both limits, drawn towards agreeing hosts."""
    held = exact_coverage(hosts, uses, rate)
    assert ((held >= BAR[0]) & (held <= BAR[1])).all(), held


def test_hosts_of_two_are_above_the_bar_only_without_a_correlation():
    independent, *others = exact_coverage(35, 2, 0.1)
    assert BAR[1] < independent < 0.981
    assert all(BAR[0] <= held <= BAR[1] for held in others), others


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
    """Single finds show none: their design effect is 1, and only that of the upper limit is drawn to five, the less the
    more hosts show none."""
    paired = np.r_[np.full(6, 2), np.zeros(94)]
    for found, drawn in ((1, 0.67), (3, 0.30), (6, 0.09), (12, 0.008)):
        some = np.where(np.arange(100) < found, 1.0, 0.0)
        (low,), (high,) = design_effect(found, 500, cluster_sums(some, np.full(100, 5)))
        assert low == pytest.approx(1.0, abs=0.005)
        assert (high - 1.0) / 4.0 == pytest.approx(drawn, abs=0.005)
    (low,), (high,) = design_effect(12, 500, cluster_sums(paired, np.full(100, 5)))
    assert 1.0 < low < 2.0 < high


def test_finds_in_hosts_used_once_say_nothing_of_the_correlation():
    """90 hosts used once and ten used 15 times: the design effect of nine single finds is that of agreeing hosts, and
    half of it is left where four of them are in hosts used often."""
    uses = np.where(np.arange(100) < 90, 1.0, 15.0)
    full = (uses**2).sum() / uses.sum()
    (low,), (high,) = design_effect(9, uses.sum(), cluster_sums(np.arange(100) < 9, uses))
    assert (low, high) == pytest.approx((full, full))
    mixed = np.isin(np.arange(100), [0, 1, 2, 3, 4, 96, 97, 98, 99])
    (low,), (high,) = design_effect(9, uses.sum(), cluster_sums(mixed, uses))
    assert low < 1.2
    assert 1.0 < high < 0.5 * full


@pytest.mark.parametrize(("often", "share"), [(36, 0.5), (36, 0.8), (30, 0.6)])
def test_degrees_of_freedom_are_those_of_the_part_of_the_variance_that_hosts_tell(often, share):
    """After Satterthwaite, of a binomial part that is known and an excess over it that is seen between hosts."""
    uses = np.where(np.arange(40) < often, 1.0, 10.0)
    n, found = uses.sum(), np.where(uses > 1.0, np.arange(40) % 2 * 10.0 * share, np.arange(40) % 2.0)
    sums = cluster_sums(found, uses)
    effect = design_effect(found.sum(), n, sums)
    hosts = n * n / (uses @ uses) * uses.mean() / np.sqrt((uses**2).mean())
    freedom = (hosts - 1.0) / ((effect - 1.0) / effect) ** 2
    student = scipy.stats.t.ppf(0.975, n - 1.0) / scipy.stats.t.ppf(0.975, np.minimum(freedom, n - 1.0))
    expected = np.maximum(n / effect * student**2, np.minimum(n / effect, n * n / (uses @ uses)))
    np.testing.assert_allclose(effective_counts(found.sum(), n, sums, 0.95)[1], expected, rtol=1e-9)


def test_hosts_that_scatter_like_independent_injections_cost_no_degrees_of_freedom():
    found = np.repeat([1.0, 2.0], 10)
    effective = effective_counts(found.sum(), 60.0, cluster_sums(found, np.full(20, 3.0)), 0.95)[1]
    assert (effective > 59.8).all()


@pytest.mark.parametrize(("uses", "rate", "correlation", "least"), [
    (np.r_[np.ones(50), 40], 0.1, 0.3, 0.93), (np.where(np.arange(200) < 180, 1, 15), 0.1, 0.6, 0.92),
], ids=["one host used forty times", "one in ten used fifteen times"])  # fmt: skip
def test_hosts_that_hold_most_injections_are_covered(uses, rate, correlation, least):
    """As if each host were used as often they are 89 and 84 %."""
    rng, size = np.random.default_rng(6), (1 - correlation) / correlation
    found = rng.binomial(uses.astype(int), rng.beta(rate * size, (1 - rate) * size, (3000, len(uses)))).astype(float)
    many = np.full(3000, float(len(uses)))
    sums = ClusterSums(many, (found**2).sum(axis=1), found @ uses, np.full(3000, float(uses @ uses)))
    low, high = clustered(found.sum(axis=1), uses.sum(), sums, 0.95)
    assert ((low <= rate) & (rate <= high)).mean() > least


@pytest.mark.parametrize("uses", [np.full(60, 5), np.where(np.arange(60) < 50, 1, 9)], ids=["equal", "unequal"])
def test_limits_of_few_found_and_of_few_missed_mirror_each_other(uses):
    found = np.random.default_rng(3).binomial(uses, 0.04, (40, 60))
    size = np.full(40, 60.0)

    def limits(k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums = ClusterSums(size, (k**2.0).sum(axis=1), k @ (1.0 * uses), np.full(40, float(uses @ uses)))
        return clustered(k.sum(axis=1), float(uses.sum()), sums, 0.95)

    low, high = limits(found)
    mirrored_low, mirrored_high = limits(uses - found)
    np.testing.assert_allclose(mirrored_low, 1.0 - high, atol=1e-10)
    np.testing.assert_allclose(mirrored_high, 1.0 - low, atol=1e-10)


@pytest.mark.slow
def test_the_documented_bounds_are_reproduced():
    page = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
    for name, settings, *most, inside, lowest in table():
        row = f"| {name} | {settings} | {most[0] or '-'} | {most[1] or '-'} | {inside} | {100.0 * lowest:.1f} |"
        assert row in page.splitlines()
