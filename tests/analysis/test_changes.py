"""Paired changes: against statsmodels and scipy, invariants, and coverage where trials share hosts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from analysis.statistics.changes import change, flipped, holm, shifted
from lake.errors import ParameterError

OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@given(OUTCOMES)
def test_with_one_trial_per_host_the_test_is_mcnemars(pairs):
    before, after = (np.array(column) for column in zip(*pairs, strict=True))
    found = change(before, after, np.arange(len(pairs)))
    table = [[(before & after).sum(), (before & ~after).sum()], [(~before & after).sum(), (~before & ~after).sum()]]
    assert found.p == pytest.approx(mcnemar(table, exact=True).pvalue)
    if found.gained + found.lost:
        assert found.p == pytest.approx(binomtest(found.gained, found.gained + found.lost).pvalue)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(after.mean() - before.mean())
    back = change(after, before, np.arange(len(pairs)))
    assert (back.value, back.low, back.high, back.p) == pytest.approx((-found.value, -found.high, -found.low, found.p))


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12))
def test_signs_are_flipped_host_by_host(net):
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(net))).reshape(len(net), -1)
    sums = np.abs(np.asarray(net) @ signs)
    assert flipped(net) == pytest.approx((sums >= abs(sum(net))).mean())


@pytest.mark.parametrize("count", [1, 2, 8])
def test_holm_is_statsmodels(count):
    values = (np.random.default_rng(count).random(count) ** 3).tolist()
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist())
    with_gap = holm([*values, np.nan])
    assert np.isnan(with_gap[-1])
    assert with_gap[:-1] == pytest.approx(holm(values))


def test_bonett_and_price_from_their_formula():
    before, after = (np.repeat(values, [20, 12, 4, 64]) for values in ([True, True, False, False], [True, False] * 2))
    found = change(before, after, np.arange(100))
    up, down = 5 / 102, 13 / 102
    half = 1.959964 * np.sqrt((up + down - (up - down) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((up - down - half, up - down + half))
    assert (found.gained, found.lost, found.trials, found.hosts) == (4, 12, 100, 100)


def test_trials_of_one_host_that_agree_count_once():
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 50)) < 0.5
    once = change(before, after, np.arange(50))
    four = change(np.repeat(before, 4), np.repeat(after, 4), np.repeat(np.arange(50), 4))
    assert four.value == pytest.approx(once.value)
    assert four.p == pytest.approx(once.p)
    assert four.high - four.low == pytest.approx(once.high - once.low, rel=0.03)
    calm = change(np.zeros(200, bool), np.zeros(200, bool), np.repeat(np.arange(50), 4))
    alone = change(np.zeros(50, bool), np.zeros(50, bool), np.arange(50))
    assert (calm.low, calm.high) == pytest.approx((alone.low, alone.high))
    assert calm.p == 1.0


@pytest.mark.parametrize("uses", [1, 4])
def test_intervals_cover_and_p_values_are_valid_where_trials_share_hosts(uses):
    """The change of a latent is the host's own, so its trials gain or lose together; on average nothing changes."""
    rng, hosts, repeats = np.random.default_rng(1), 60, 1000
    place, covered, rejected, alone = np.repeat(np.arange(hosts), uses), 0, 0, 0
    for _ in range(repeats):
        moved, latent = rng.normal(0, 1.0, hosts)[place], rng.normal(size=hosts)[place] + rng.normal(size=len(place))
        before, after = latent - moved / 2 > 0.5, latent + moved / 2 > 0.5
        found = change(before, after, place)
        covered += found.low <= 0.0 <= found.high
        rejected += found.p < 0.05
        alone += change(before, after, np.arange(len(place))).p < 0.05
    assert covered / repeats > 0.935
    assert rejected / repeats < 0.06
    assert uses == 1 or alone / repeats > 0.08, "trials as if independent reject too often"


def test_shapes_must_agree_and_nothing_is_nan():
    with pytest.raises(ParameterError, match="'after' must be of the shape of before"):
        change([True], [True, False], [1, 2])
    assert np.isnan(change([], [], []).value)
    assert shifted([], [])[4] == 0


def test_the_median_shift_counts_hosts():
    rng = np.random.default_rng(3)
    means = rng.normal(0.5, 1.0, 80)
    value, low, high, p, hosts = shifted(np.repeat(means, 3), np.repeat(np.arange(80), 3))
    assert (value, hosts) == (pytest.approx(np.median(means)), 80)
    assert low < value < high
    once = shifted(means, np.arange(80))
    assert once == pytest.approx((value, low, high, p, 80))
    assert shifted(np.zeros(20), np.arange(20))[3] == 1.0
    inside = np.array([shifted(rng.normal(0.2, 1.0, 40), np.arange(40))[1:3] for _ in range(600)])
    assert ((inside[:, 0] <= 0.2) & (inside[:, 1] >= 0.2)).mean() > 0.94
