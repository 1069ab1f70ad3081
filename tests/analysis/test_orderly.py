"""What an orderly interval can reach at all rates and correlations of a design, beside ours."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tests.analysis.coverage import once_each
from tests.analysis.orderly import most_orderly, ordered, spread
from tests.analysis.severaluses import BAR, CORRELATIONS, RATES, exact_coverage


def rates_of(hosts: int) -> tuple[float, ...]:
    """Those at which fewer than fifteen hosts are expected to be found."""
    return tuple(rate for rate in RATES if rate * hosts < 15.0)


def test_the_pairs_imply_the_whole_order():
    rng = np.random.default_rng(2)
    estimate, crowding = np.divmod(rng.choice(80, 40, replace=False), 10)
    reached = np.eye(40, dtype=bool)
    reached[tuple(ordered(estimate, crowding))] = True
    for _ in range(6):
        reached = reached @ reached
    whole = (estimate >= estimate[:, None]) & (crowding >= crowding[:, None])
    np.testing.assert_array_equal(reached, whole)


def test_spread_is_one_of_independent_finds_and_the_uses_of_agreeing_hosts():
    assert spread(50, 2, np.array([20, 0, 100]), np.array([40, 0, 200])).tolist() == [2.0, -1.0, -1.0]
    rng = np.random.default_rng(1)
    found = rng.binomial(3, 0.3, (4000, 50))
    seen = spread(50, 3, found.sum(axis=1), (found**2).sum(axis=1))
    assert seen.mean() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("hosts", [20, 50, 100])
def test_with_one_use_no_orderly_interval_is_within_the_bar_more_often_than_ours(hosts):
    rates = rates_of(hosts)
    held = once_each(np.array(rates), hosts)
    ours = int(((held >= BAR[0]) & (held <= BAR[1])).sum())
    assert most_orderly(hosts, 1, rates).most == ours * len(CORRELATIONS)


@pytest.mark.slow
@pytest.mark.parametrize(("hosts", "most", "ours"), [(20, 45, 44), (50, 28, 24), (100, 25, 25)])
def test_hosts_of_two_have_an_orderly_interval_as_documented(hosts, most, ours):
    rates = rates_of(hosts)
    best = most_orderly(hosts, 2, rates, seconds=300.0)
    assert best.most == most
    held = 1.0 - np.einsum("rco,ro->rc", best.outcomes.chance, best.missed)
    unknown = 1.0 - best.outcomes.chance.sum(axis=2)
    assert (held - unknown).min() >= BAR[0] - 1e-6
    assert (held <= BAR[1] + 1e-6).sum() == most, "the bound is reached"
    in_order(np.array(rates), best.outcomes.estimate, best.outcomes.spread, best.missed)
    exact = np.array([exact_coverage(hosts, 2, rate) for rate in rates])
    assert ((exact >= BAR[0]) & (exact <= BAR[1])).sum() == ours


def in_order(rates: np.ndarray, estimate: np.ndarray, spread: np.ndarray, missed: np.ndarray) -> None:
    """From its definition, by the numbers of rates below the lower end and not above the upper one."""
    below, above = rates[:, None] < estimate - 1e-12, rates[:, None] > estimate + 1e-12
    assert not missed[~below & ~above].any()
    low, high = (missed & below).sum(axis=0), (~(missed & above)).sum(axis=0)
    np.testing.assert_array_equal(
        missed, (np.arange(len(rates))[:, None] < low) | (np.arange(len(rates))[:, None] >= high)
    )
    for a, b in product(range(len(estimate)), repeat=2):
        if estimate[a] <= estimate[b]:
            assert spread[a] > spread[b] or high[a] <= high[b]
            assert spread[a] < spread[b] or low[a] <= low[b]
