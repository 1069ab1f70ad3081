"""Mean changes of paired trials: against statsmodels, by simulation, and at their limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy
import statsmodels.api as sm

from analysis.statistics.contrasts import change_of_weights, largest_by_noise, mean_change

RNG = np.random.default_rng(1)


def expected(d, groups, weights):
    """Half-width by statsmodels, with the two trials that every interval adds; `groups` is (trial, kind of host)."""
    deff = (fit(d, groups, weights).bse[0] / fit(d, None, weights).bse[0]) ** 2
    each = (weights @ weights) / weights.sum() * max(deff, 1.0)
    own = groups.max() + np.array([[1], [2]]) * np.ones(groups.shape[1], int)
    codes, w = np.vstack([groups, own]), np.append(weights, [each, each])
    m = len(np.unique(codes))
    error = fit(np.append(d, [1.0, -1.0]), codes, w).bse[0] * np.sqrt(m / (m - 1))
    return scipy.stats.t.isf(0.025, min(len(np.unique(column)) for column in groups.T) - 1) * error


def fit(d, groups, weights):
    model = sm.WLS(d, np.ones(len(d)), weights=weights)
    if groups is None:
        return model.fit(cov_type="HC0")
    return model.fit(cov_type="cluster", cov_kwds={"groups": groups.squeeze(), "use_correction": False})


def test_one_host_a_trial_agrees_with_cluster_robust_errors():
    hosts = RNG.integers(40, size=200)
    d = RNG.choice([-1.0, 0.0, 1.0], p=[0.1, 0.7, 0.2], size=200) * RNG.integers(2, size=40)[hosts]
    for w in (np.ones(200), RNG.uniform(0.5, 2.0, 200)):
        found = mean_change(d, [hosts], w)
        assert (found.high - found.low) / 2.0 == pytest.approx(expected(d, hosts[:, None], w))
        assert found.value == pytest.approx(w @ d / w.sum())
        assert found.n == 200


def test_two_hosts_a_trial_agree_with_two_way_clusters():
    first, second = RNG.integers(30, size=300), 100 + RNG.integers(50, size=300)
    shift = RNG.normal(size=200) > 0.0
    d = 1.0 * (shift[first] & shift[second]) - (RNG.random(300) < 0.1)
    found = mean_change(d, [first, second])
    assert (found.high - found.low) / 2.0 == pytest.approx(expected(d, np.stack([first, second], 1), np.ones(300)))


def test_a_galaxy_that_is_the_host_of_either_kind_is_one_cluster():
    first, second = np.array(["a", "b", "c", "a"]), np.array(["b", "x", "c", "b"])
    d = np.array([1.0, 1.0, 0.0, 1.0])
    share = np.eye(6)  # the two trials that the interval adds come last
    share[np.ix_([0, 1, 3], [0, 1, 3])] = 1.0  # trials that share a host
    own, among = d - d.mean(), share[:4, :4]
    deff = min(own @ among @ own / (own @ own), among.sum() / 4.0)
    w = np.array([1.0] * 4 + [deff, deff])
    mean = d.sum() / w.sum()
    e = w * (np.append(d, [1.0, -1.0]) - mean) / w.sum()
    hosts = 6  # a, b, c, x, and those of the added trials
    error = np.sqrt(e @ share @ e * hosts / (hosts - 1))
    found = mean_change(d, [first, second], limit=9.0)
    assert (found.high - mean) / error == pytest.approx(scipy.stats.t.isf(0.025, 3 - 1))


def test_limits():
    empty = mean_change([], [[]])
    assert np.isnan(empty.value)
    assert empty.n == 0
    one = mean_change([1.0, 0.0], [["h", "h"]])
    assert one.value == 0.5
    assert np.isnan(one.low)
    none = mean_change(np.zeros(500), [np.arange(500)])
    assert none.value == 0.0
    assert 0.005 < none.high == -none.low < 0.007, "nothing changed in 500 trials: at most about 3 in 500 can"
    every = mean_change(np.ones(50), [np.arange(50)])
    assert every.value == every.high == 1.0, "no interval reaches beyond what is possible"
    assert mean_change(2.0 * np.ones(50), [np.arange(50)], limit=2.0).high == 2.0
    assert (one.hosts, every.hosts) == (1, 50)
    assert mean_change([1.0, 0.0, 1.0], [["a", "b", "c"]], [1.0, 1.0, 0.0]).value == 0.5


@pytest.mark.parametrize("rates", [(0.01, 0.005), (0.05, 0.02), (0.1, 0.1)])
@pytest.mark.parametrize(("hosts", "uses", "shared"), [(300, 1, 0.0), (150, 3, 0.5), (100, 5, 0.9)])
def test_coverage(rates, hosts, uses, shared):
    rng = np.random.default_rng(hosts)
    names, truth, held = np.repeat(np.arange(hosts), uses), rates[0] - rates[1], 0
    for _ in range(400):
        own, whole = rng.random(hosts * uses), np.repeat(rng.random(hosts), uses)
        u = np.where(rng.random(hosts * uses) < shared, whole, own)
        found = mean_change((u < rates[0]) * 1.0 - (u > 1.0 - rates[1]), [names])
        held += found.low <= truth <= found.high
    assert held / 400 > 0.92


def test_change_of_weights_agrees_with_a_bootstrap_of_hosts():
    rng = np.random.default_rng(3)
    hosts = np.repeat(np.arange(150), 4)
    hits = (rng.random(600) < rng.uniform(0.1, 0.9, 150)[hosts]).astype(float)
    before, after = np.ones(600), np.exp(rng.normal(0.0, 0.7, 150))[hosts] * (1.0 + hits)
    found = change_of_weights(hits, hosts, after, before)
    assert found.value == pytest.approx(np.average(hits, weights=after) - hits.mean())
    counts = rng.multinomial(150, np.full(150, 1 / 150), 4000)[:, hosts]
    again = counts @ (after * hits) / (counts @ after) - counts @ hits / (counts @ before)
    assert (found.high - found.low) / (2 * 1.976) == pytest.approx(again.std(), rel=0.06)
    same = change_of_weights(hits, hosts, 3.0 * before, before)
    assert same.value == pytest.approx(0.0)
    assert same.high == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(change_of_weights(hits, hosts, np.zeros(600), before).value)
    alike = change_of_weights(np.ones(600), hosts, after, before)
    assert (alike.value, alike.high) == pytest.approx((0.0, 1.0 - 0.025 ** (1.0 / 150)))


def test_noise_alone_explains_what_it_makes_and_not_a_cell_that_differs():
    rng = np.random.default_rng(4)
    cells, hosts = np.repeat(np.arange(50), 40), np.arange(2000)
    d = rng.choice([-1.0, 0.0, 1.0], p=[0.03, 0.92, 0.05], size=2000)
    largest, spread = largest_by_noise(d, cells, hosts, 400, rng)
    means = d.reshape(50, 40).mean(1)
    assert (largest >= np.abs(means).max()).mean() > 0.01
    assert spread.mean() == pytest.approx(np.sqrt(d.var() / 40 * 49 / 50), rel=0.05), "as of independent trials"
    d[:40] = 1.0
    largest, _ = largest_by_noise(d, cells, hosts, 400, rng)
    assert (largest < 1.0).all()


def test_trials_of_a_host_in_a_cell_stay_together():
    rng = np.random.default_rng(5)
    cells, hosts = np.repeat(np.arange(20), 10), np.repeat(np.arange(40), 5)
    d = np.repeat(rng.choice([0.0, 1.0], p=[0.8, 0.2], size=40), 5)
    _, together = largest_by_noise(d, cells, hosts, 400, rng)
    _, alone = largest_by_noise(d, cells, np.arange(200), 400, rng)
    assert together.mean() > 1.8 * alone.mean()
