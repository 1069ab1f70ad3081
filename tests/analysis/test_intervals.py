"""Intervals against scipy / statsmodels, their edge rules, and coverage when injections share hosts."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from analysis.statistics.intervals import (
    ClusterSums,
    clopper_pearson,
    clustered,
    design_effect,
    difference,
    exact,
    jeffreys,
    largest,
    median,
    mixture,
)
from lake.errors import ParameterError
from tests.analysis.cells import cluster_sums
from tests.analysis.coverage import (
    ALTERNATIVES,
    attainable,
    compared,
    fields,
    hull,
    independent,
    once_each,
    table,
    within_reach,
)
from tests.analysis.severaluses import CORRELATIONS, exact_coverage


@pytest.mark.parametrize(("k", "n"), [(1, 10), (5, 10), (9, 10), (818, 110_000), (100, 112)])
def test_intervals_agree_with_statsmodels(k, n):
    for ours, method in ((jeffreys, "jeffreys"), (clopper_pearson, "beta")):
        low, high = ours(k, n, 0.95)
        assert (low[0], high[0]) == pytest.approx(proportion_confint(k, n, alpha=0.05, method=method), rel=1e-10)


def test_clopper_pearson_agrees_with_scipy_at_the_edges():
    for k in (0, 20):
        expected = stats.binomtest(k, 20).proportion_ci(0.95, method="exact")
        low, high = clopper_pearson(k, 20, 0.95)
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high))


def test_jeffreys_edge_rules():
    low, high = jeffreys([0, 20, 0], [20, 20, 0], 0.95)
    assert low[0] == 0.0
    assert high[1] == 1.0
    assert high[0] == pytest.approx(1.0 - low[1])
    assert np.isnan(low[2])
    assert np.isnan(high[2])


@given(st.integers(1, 400), st.data())
def test_intervals_hold_the_estimate_and_mirror(n, data):
    k = data.draw(st.integers(0, n))
    for method in (jeffreys, clopper_pearson):
        low, high = method(k, n, 0.95)
        mirror_low, mirror_high = method(n - k, n, 0.95)
        assert 0.0 <= low[0] <= k / n <= high[0] <= 1.0
        assert low[0] == pytest.approx(1.0 - mirror_high[0], abs=1e-9)
        narrow_low, narrow_high = method(k, n, 0.68)
        assert low[0] <= narrow_low[0] <= narrow_high[0] <= high[0]
        assert mirror_low[0] <= mirror_high[0]


def test_reference_tier_a_recall():
    """Reference: 89.3 % [82.6, 94.0] for 100 of 112 (Wilson or Jeffreys-like there; within half a point here)."""
    low, high = jeffreys(100, 112, 0.95)
    assert low[0] == pytest.approx(0.826, abs=0.005)
    assert high[0] == pytest.approx(0.940, abs=0.005)


@pytest.mark.parametrize(("first", "second"), [((8, 97), (18, 519)), ((0, 20), (5, 30)), ((12, 12), (3, 40))])
def test_the_difference_of_two_shares_agrees_with_statsmodels(first, second):
    found = difference("difference", first, second)
    low, high = confint_proportions_2indep(*first, *second, method="newcomb", compare="diff")
    assert (found.value, found.low, found.high) == pytest.approx(
        (first[0] / first[1] - second[0] / second[1], low, high)
    )
    assert math.isnan(difference("difference", (0, 0), second).value)


def test_the_interval_of_a_median_covers():
    rng = np.random.default_rng(0)
    found = [median(rng.exponential(size=41)) for _ in range(1000)]
    held = np.mean([low <= np.log(2.0) <= high for _, low, high in found])
    assert 0.93 <= held <= 0.985
    assert all(math.isnan(value) for value in median([]))


def test_bad_counts_are_refused():
    with pytest.raises(ParameterError, match="'successes' must be finite and between 0"):
        jeffreys(3, 2, 0.95)
    with pytest.raises(ParameterError, match="'level' must be between 0 and 1"):
        jeffreys(1, 2, 95)


def test_one_injection_per_host_is_binomial():
    outcomes = np.random.default_rng(1).random(400) < 0.3
    sums = cluster_sums(outcomes, np.ones(400))
    low, high = clustered(outcomes.sum(), 400, sums, 0.95)
    assert design_effect(outcomes.sum(), 400, sums)[0] == pytest.approx(1.0)
    assert (low[0], high[0]) == pytest.approx(hull(outcomes.sum(), 400))


def of_hosts_used_once(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All numbers found of ``n`` hosts used once, and their bounds."""
    k, size = np.arange(n + 1.0), np.full(n + 1, float(n))
    return k, *clustered(k, size, ClusterSums(size, k, k, size), 0.95)


@pytest.mark.parametrize("n", [4, 10, 57])
def test_limits_of_independent_hosts_are_those_of_their_definition(n):
    """Clopper & Pearson's where none or all are found, the hull of two priors where many are found and missed."""
    k, low, high = of_hosts_used_once(n)
    expected = independent(k[1:-1], n)
    np.testing.assert_allclose(low[1:-1], expected[0], atol=1e-8)
    np.testing.assert_allclose(high[1:-1], expected[1], atol=1e-8)
    exact_low, exact_high = clopper_pearson(k[[0, n]], n, 0.95)
    np.testing.assert_allclose((low[[0, n]], high[[0, n]]), (exact_low, exact_high))
    many = (k > 15) & (k < n / 2) & (n - k > 15)
    np.testing.assert_allclose((low[many], high[many]), hull(k[many], n))


@pytest.mark.parametrize("n", [2, 3, 10, 57, 400])
def test_limits_hold_the_estimate_rise_with_it_and_mirror(n):
    k, low, high = of_hosts_used_once(n)
    assert ((low <= k / n) & (k / n <= high)).all()
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) > 0).all()
    np.testing.assert_allclose(low, 1.0 - high[::-1], atol=1e-10)


@pytest.mark.parametrize("n", [0.5, 4.0, 7.3, 10.0, 33.3, 400.0])
def test_limits_of_fractional_counts_rise_and_nest(n):
    """Also from none to next to none, and from nearly all to all."""
    k = np.r_[0.0, np.linspace(0.001, n - 0.001, 401), n][:, None]
    nested = [mixture(k, np.full(k.shape, n), np.ones(1), level) for level in (0.68, 0.95, 0.99)]
    for low, high in nested[1:]:
        assert (np.diff(low) > -1e-9).all()
        assert (np.diff(high) > -1e-9).all()
    for inner, outer in pairwise(nested):
        assert ((outer.low <= inner.low) & (inner.high <= outer.high)).all()


def test_with_few_found_misses_reach_seven_per_cent_and_no_more():
    """Whatever the rate, also below one per cent, where Jeffreys' interval falls to 90 %; on average 95 to 96.5 %."""
    expected = np.geomspace(0.001, 15.0, 2000)
    for hosts in (50, 200, 500):
        held = once_each(expected / hosts, hosts)
        assert held.min() == pytest.approx(0.93, abs=5e-4), hosts
        for low, high in ((0.3, 2.0), (2.0, 6.0), (6.0, 15.0)):
            assert 0.945 < held[(low <= expected) & (expected < high)].mean() < 0.967, (hosts, low)
    assert once_each(expected / 500, 500, "Jeffreys").min() < 0.9


def test_limits_are_within_the_bar_where_any_interval_can_be():
    """Nearly everywhere (the hull alone: in 75 and 60 % of the settings), and a rule that always is exists."""
    rates = np.geomspace(0.01, 0.5, 60)
    for hosts, share in ((20, 0.9), (50, 0.93), (200, 0.97)):
        reach = np.array([within_reach(p, hosts) for p in rates])
        held = once_each(rates, hosts)[reach]
        assert np.mean((held >= 0.93) & (held <= 0.97)) > share, hosts
        assert attainable(rates, hosts) == 1.0


def test_at_a_threshold_of_one_value_the_mixture_is_the_clustered_interval():
    """And with two values it lies between theirs, unless one of them finds none."""
    k, n = np.array([[0.0], [1.0], [3.5], [20.0], [39.0], [40.0]]), np.full((6, 1), 40.0)
    found = mixture(k, n, np.ones(1), 0.95)
    single = clustered(k[:, 0], n[:, 0], ClusterSums(n[:, 0], k[:, 0], k[:, 0], n[:, 0]), 0.95)
    np.testing.assert_allclose(found, single, atol=1e-8)
    both = mixture(np.array([[10.0, 20.0]]), np.full((1, 2), 40.0), np.array([0.3, 0.7]), 0.95)
    (few_low, many_low), (few_high, many_high) = hull([10, 20], [40, 40])
    assert few_low < both.low[0] < many_low
    assert few_high < both.high[0] < many_high


def test_fully_correlated_hosts_count_once():
    """Ten injections that all share their host's fate carry the information of one."""
    hosts = (np.arange(40) < 12).astype(float)
    sums = cluster_sums(hosts * 10, np.full(40, 10))
    assert design_effect(120, 400, sums)[0] == pytest.approx(10.0)
    low, high = clustered(120, 400, sums, 0.95)
    assert (low[0], high[0]) == pytest.approx(hull(12, 40))


def test_when_all_outcomes_agree_hosts_are_the_sample():
    """Clopper & Pearson's bound of eight trials: Jeffreys' would cover 88 % where two to three are expected."""
    low, high = clustered(0, 200, cluster_sums(np.zeros(8), np.full(8, 25)), 0.95)
    assert low[0] == 0.0
    assert high[0] == pytest.approx(proportion_confint(0, 8, method="beta")[1])
    low, high = clustered(200, 200, cluster_sums(np.full(8, 25), np.full(8, 25)), 0.95)
    assert (low[0], high[0]) == (pytest.approx(proportion_confint(8, 8, method="beta")[0]), 1.0)


@pytest.mark.parametrize("uses", [3, 8])
def test_the_variance_is_that_of_a_cluster_robust_regression(uses):
    """Logit GLM of an intercept: the delta method takes its standard error to that of the proportion."""
    rng = np.random.default_rng(uses)
    k = rng.binomial(uses, rng.beta(1.0, 2.0, 4000))
    hit, host = np.concatenate([np.arange(uses) < found for found in k]).astype(float), np.repeat(np.arange(4000), uses)
    groups = {"groups": host, "use_correction": False}
    fit = sm.GLM(hit, np.ones(len(hit)), family=sm.families.Binomial()).fit(cov_type="cluster", cov_kwds=groups)
    p, n = hit.mean(), len(hit)
    error = fit.bse[0] * p * (1 - p)
    sums = cluster_sums(k, np.full(4000, uses))
    assert design_effect(k.sum(), n, sums)[0] == pytest.approx(error**2 / (p * (1 - p) / n), rel=2e-3)
    low, high = clustered(k.sum(), n, sums, 0.95)
    assert (high[0] - low[0]) / 2 == pytest.approx(stats.norm.isf(0.025) * error, rel=2e-3)


@pytest.mark.parametrize("hosts", [20, 50, 100, 200, 500])
def test_one_use_covers_whatever_is_expected(hosts):
    """Exactly, by summing the binomial: with Jeffreys' own bound at 0 of n this is 88 % at 2.5 expected."""
    held = once_each(np.geomspace(0.01, 0.5, 60), hosts)
    assert held.min() > 0.93
    assert np.median(held) == pytest.approx(0.95, abs=0.02)


def test_clustered_interval_covers_where_jeffreys_does_not():
    """60 hosts x 10 injections, hosts scatter in detectability (beta, intra-class correlation 0.3)."""
    rng = np.random.default_rng(7)
    truth, rho = 0.2, 0.3
    a = truth * (1 - rho) / rho
    k = rng.binomial(10, rng.beta(a, a * (1 - truth) / truth, (600, 60))).astype(float)
    found, n = k.sum(axis=1), np.full(600, 600.0)
    sums = ClusterSums(np.full(600, 60.0), (k * k).sum(axis=1), 10.0 * found, np.full(600, 60 * 100.0))
    naive, honest = (
        np.mean((low <= truth) & (truth <= high))
        for low, high in (jeffreys(found, n, 0.95), clustered(found, n, sums, 0.95))
    )
    assert naive < 0.85
    assert honest == pytest.approx(0.95, abs=0.03)


def test_cluster_bootstrap_agrees_with_the_design_effect():
    rng = np.random.default_rng(3)
    k = rng.binomial(10, rng.beta(1, 3, 200))
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=4000)
    low, high = np.quantile(weights @ k / (10 * 200), [0.025, 0.975])
    expected = clustered(k.sum(), 2000, cluster_sums(k, np.full(200, 10)), 0.95)
    assert (low, high) == pytest.approx((expected.low[0], expected.high[0]), abs=0.006)


@pytest.mark.parametrize(
    ("rate", "correlation", "hosts", "uses", "bounds"),
    [(0.02, 0.5, 100, 5, (0.95, 1.0)), (0.01, 0.6, 500, 5, (0.94, 0.96)), (0.05, 0.3, 100, 5, (0.95, 0.97))],
)
def test_clustered_interval_covers_rare_detections(rate, correlation, hosts, uses, bounds):
    """Without the clusters that the design effect is drawn towards these are 91, 93.5 and 94.5 %."""
    low, high = bounds
    assert low < exact_coverage(hosts, uses, rate)[CORRELATIONS.index(correlation)] < high


@pytest.mark.parametrize(("hosts", "most", "rate"), [(120, 5, 0.05), (260, 30, 0.02)])
def test_hosts_used_unequally_often_are_covered(hosts, most, rate):
    """From one to five and from one to thirty times, with a correlation of 0.6 within a host."""
    rng, uses = np.random.default_rng(5), np.arange(hosts) % most + 1
    chance = rng.beta(rate * 2 / 3, (1 - rate) * 2 / 3, (2000, hosts))
    found = rng.binomial(uses, chance)
    sums = ClusterSums(
        np.full(2000, float(hosts)), (found**2).sum(axis=1), found @ uses, np.full(2000, float(uses @ uses))
    )
    low, high = clustered(found.sum(axis=1), uses.sum(), sums, 0.95)
    assert ((low <= rate) & (rate <= high)).mean() > 0.92


@pytest.mark.slow
def test_the_documented_coverage_is_reproduced():
    page = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
    for bin_name, correlation, *measured in table(4000, 1):
        kind = "one use" if math.isnan(correlation) else f"{correlation:g}"
        row = next(line for line in page.splitlines() if line.startswith(f"| {bin_name} | {kind} |"))
        documented = [float(cell) / 100.0 for cell in row.strip("| ").split(" | ")[2:]]
        assert measured == pytest.approx(documented, abs=0.01)


@pytest.mark.slow
def test_intervals_with_fields_as_clusters_cover_as_documented():
    """At least 95.9, 93.6 and 93.5 % for 10, 20 and 40 fields; medians 97.6, 97.0 and 95.3 %."""
    documented = ((0.959, 0.976), (0.936, 0.970), (0.935, 0.953))
    for (count, lowest, middle, _), (least, middling) in zip(fields(2000, 1), documented, strict=True):
        assert lowest > least - 0.005, count
        assert middle == pytest.approx(middling, abs=0.005), count


NAMES = {"Korn & Graubard": "Clopper-Pearson (Korn & Graubard)"}


@pytest.mark.slow
def test_the_documented_comparison_with_other_intervals_is_reproduced():
    page = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
    rows = compared(2000, 1)
    assert min(min(row[2], row[4]) for row in rows if row[1] == "ours") >= 0.9295
    for bin_name, method, *measured in rows:
        name = f"| {bin_name.replace('15-1000', 'more')} | {NAMES.get(method, method)} |"
        (row,) = (line for line in page.splitlines() if line.startswith(name))
        cells = row.strip("| ").split(" | ")[2:]
        measured, documented = measured[: 4 - cells.count("-")], [float(cell) / 100.0 for cell in cells if cell != "-"]
        assert measured[::2] == pytest.approx(documented[::2], abs=0.004), name
        assert measured[1::2] == pytest.approx(documented[1::2], abs=0.05), name


def test_other_intervals_agree_with_statsmodels():
    for k in (0, 1, 7, 20):
        found = {name: made(np.array([float(k)]), np.array([20.0])) for name, made in ALTERNATIVES.items()}
        for name, method in (("Korn & Graubard", "beta"), ("Wilson", "wilson"), ("Jeffreys", "jeffreys")):
            if name == "Jeffreys" and k in (0, 20):
                continue
            expected = proportion_confint(k, 20, alpha=0.05, method=method)
            assert (found[name][0][0], found[name][1][0]) == pytest.approx(expected, abs=1e-6), name
        low, high = found["mid-P"]
        for p, tail in ((low[0], stats.binom.sf(k, 20, low[0])), (high[0], stats.binom.cdf(k - 1, 20, high[0]))):
            if 0.0 < p < 1.0:
                assert tail + 0.5 * stats.binom.pmf(k, 20, p) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize("trials", [40, 200])
@pytest.mark.parametrize(
    "shares", [[0.4] * 8, [0.17, 0.25, 0.28, 0.36, 0.31, 0.24, 0.09, 0.01], [0.8, 0.1], [0.02] * 8]
)
def test_the_interval_of_the_largest_share_covers_it_and_a_bootstrap_does_not(shares, trials):
    rng, repeats = np.random.default_rng(4), 1500
    found = rng.binomial(trials, shares, (repeats, len(shares)))
    kinds, which = np.unique(np.sort(found, axis=1), axis=0, return_inverse=True)  # alike but for their order
    bounds = np.array([largest(row, np.full(len(shares), trials)) for row in kinds])[which]
    covered = (bounds[:, 0] <= max(shares)) & (bounds[:, 1] >= max(shares))
    assert covered.mean() > 0.95
    if shares == [0.4] * 8:
        again = [rng.binomial(trials, row / trials, (400, len(shares))).max(axis=1) / trials for row in found[:300]]
        low, high = np.quantile(again, [0.025, 0.975], axis=1)
        assert ((low <= max(shares)) & (high >= max(shares))).mean() < 0.5


def test_the_order_of_shares_does_not_matter():
    assert largest([7, 2, 12], [20, 20, 30]) == largest([12, 7, 2], [30, 20, 20])


def test_the_largest_of_one_share_is_clopper_and_pearsons():
    assert largest([7], [20]) == pytest.approx(exact(7, 20))
    assert largest([7, 0], [20, 0]) == pytest.approx(exact(7, 20)), "a bin without trials is none"
    assert np.isnan(largest([0], [0])[0])
