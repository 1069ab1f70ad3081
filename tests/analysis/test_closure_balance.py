"""Balance of the closure: against statsmodels, the verdicts, and chains that are wrong only in it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from analysis.diagnostics.closure import Chain, _Links, closed, failing
from analysis.diagnostics.closure_balance import Balance, balance, judged, standardised
from analysis.page import answer
from analysis.records import Measure
from analysis.reporting import closing
from analysis.reporting.views import interval
from tests.analysis.chains import PARAMS, POINTS, made_up
from tests.analysis.outcomes import measure, status


def balanced(rng, theta_e=0.0, host=0.0):
    """A right chain whose injections have other Einstein radii, or whose hosts are brighter, by standard deviations."""
    chain = made_up(rng)
    hosts = rng.normal(18.0 - 0.8 * host, 0.8, 300)
    place = chain.pairs["host"].str[1:].astype(int)
    lenses = {"hosts/mag_r": rng.normal(18.0, 0.8, 400), "population/log_theta_e": rng.normal(0.5, 0.2, 400)}
    grid = {"population/log_theta_e": rng.normal(0.5 + 0.2 * theta_e, 0.2, 4000), "weight": rng.uniform(0.5, 2, 4000)}
    pairs = chain.pairs.assign(**{"hosts/mag_r": hosts[place], "all": rng.uniform(0.5, 2, 300)[place]})
    return replace(chain, lenses=chain.lenses.assign(**lenses), pairs=pairs, grid=chain.grid.assign(**grid))


@pytest.fixture(scope="module")
def chain():
    return balanced(np.random.default_rng(1), theta_e=0.1, host=0.1)


def by_statsmodels(values, weights, of_lenses, lens_weights):
    injections, lenses = DescrStatsW(values, weights), DescrStatsW(of_lenses, lens_weights)
    gap = CompareMeans(injections, lenses).d1.mean - lenses.mean
    return gap / np.sqrt((injections.var + lenses.var) / 2.0)


@pytest.mark.parametrize("link", ["hosts", "population"])
def test_the_difference_and_each_replicate_are_those_of_statsmodels(chain, link):
    links = _Links(chain, 100, np.random.default_rng(2))
    column = {"hosts": "hosts/mag_r", "population": "population/log_theta_e"}[link]
    rows, mean = (
        (chain.pairs, links._over_pairs) if link == "hosts" else (chain.grid, partial(links._over_grid, chain.grid))
    )
    weights = rows["all"] * (1.0 if link == "hosts" else rows["weight"])
    values, of_lenses = rows[column].to_numpy(), chain.lenses[column].to_numpy()
    found = standardised(values, partial(mean, "all"), of_lenses, links._of_lenses)
    assert found.value == pytest.approx(by_statsmodels(values, weights, of_lenses, np.ones(400)), abs=1e-12)
    lens, host = (links.bootstrap.counts[kind][7] for kind in ("lens", "host"))
    drawn = weights * (lens[rows["lens"]] * host[links.of_pairs] if link == "hosts" else host[links.of_grid])
    assert found.replicates[7] == pytest.approx(by_statsmodels(values, drawn, of_lenses, lens), abs=1e-12)
    one = links.balance(link)[0]
    assert one.measure.name == f"closure/{link}/balance/{column.partition('/')[2]}"
    assert (one.measure.low, one.measure.high) == pytest.approx(np.quantile(found.replicates, [0.025, 0.975]))
    assert one.p == pytest.approx(2 * norm.sf(abs(found.value) / found.replicates.std(ddof=1)))


def test_what_is_not_known_is_left_out(chain):
    links = _Links(chain, 100, np.random.default_rng(2))
    values, of_lenses = chain.pairs["hosts/mag_r"].to_numpy().copy(), chain.lenses["hosts/mag_r"].to_numpy().copy()
    values[5], of_lenses[3] = np.nan, np.nan
    mean = partial(links._over_pairs, "all")
    found = balance("x", values, mean, of_lenses, links._of_lenses).measure
    known, weights = np.isfinite(values), chain.pairs["all"].to_numpy()
    rest = of_lenses[np.isfinite(of_lenses)]
    assert found.value == pytest.approx(by_statsmodels(values[known], weights[known], rest, np.ones(399)))
    assert found.n == 399
    few = np.where(np.arange(400) < 9, of_lenses, np.nan)
    for lost in (
        balance("x", values, mean, few, links._of_lenses),
        balance("x", np.full(2400, np.nan), mean, of_lenses, links._of_lenses),
        balance("x", np.ones(2400), mean, np.ones(400), links._of_lenses),
    ):
        assert np.isnan(lost.measure.value)
        assert lost.measure.method.startswith("not measurable: ")


@pytest.mark.parametrize(
    ("change", "link"),
    [({}, None), ({"theta_e": 0.6}, "population"), ({"theta_e": -0.6}, "population"), ({"host": 0.7}, "hosts")],
)
def test_a_link_that_is_wrong_only_in_its_balance_is_named(change, link):
    outcome = closed(balanced(np.random.default_rng(1), **change), POINTS, PARAMS, np.random.default_rng(2))
    assert failing(outcome) == ([link] if link else [])
    for one in ("light", "renderer", "hosts", "population"):
        assert status(outcome, f"closure/{one}") == "PASS"
    for one, column in (("hosts", "mag_r"), ("population", "log_theta_e")):
        gate = next(gate for gate in outcome.gates if gate.name == f"closure/{one}/balance")
        assert gate.status == ("FAIL" if one == link else "PASS")
        assert gate.value == measure(outcome, f"closure/{one}/balance/{column}").value
        assert f"({column})" in gate.rule
        assert gate.threshold == 0.25


@pytest.mark.parametrize(
    ("value", "low", "high", "p", "columns", "verdict"),
    [
        (0.1, -0.05, 0.25, 0.2, 1, "PASS"),
        (0.2, 0.12, 0.28, 1e-6, 1, "BORDERLINE"),
        (0.3, 0.05, 0.55, 0.02, 2, "FAIL"),
        (-0.3, -0.55, -0.05, 0.02, 3, "BORDERLINE"),
        (-0.9, -1.1, -0.7, 1e-9, 4, "FAIL"),
    ],
)
def test_a_difference_beyond_the_limit_fails_unless_it_may_be_chance(value, low, high, p, columns, verdict):
    assert Balance(Measure("x", value, low, high, 248, "", ""), p).status(0.25, columns) == verdict


def test_sources_that_are_round_here_only_are_named(chain):
    """Neither the light of the arcs nor recall shows them; lenses of one axis ratio still have a difference."""
    grid = chain.grid.assign(**{"population/src_q": np.random.default_rng(4).uniform(0.4, 1.0, 4000)})
    world = replace(chain, grid=grid, lenses=chain.lenses.assign(**{"population/src_q": 1.0}))
    outcome = closed(world, POINTS, PARAMS, np.random.default_rng(2))
    assert failing(outcome) == ["population"]
    assert measure(outcome, "closure/population/balance/src_q").value < -2.0


def test_the_failing_column_is_judged_before_a_larger_one_that_may_be_chance(chain):
    """And a link that has no balance has no such gate."""
    few = np.full(400, np.nan)
    few[:12] = np.random.default_rng(3).normal(18.0, 30.0, 12)
    changed = chain.lenses.assign(**{"hosts/size": few, "hosts/mag_r": chain.lenses["hosts/mag_r"] + 0.8})
    both = replace(chain, lenses=changed, pairs=chain.pairs.assign(**{"hosts/size": chain.pairs["hosts/mag_r"] + 15}))
    outcome = closed(both, POINTS, PARAMS, np.random.default_rng(2))
    size, mag = (measure(outcome, f"closure/hosts/balance/{column}") for column in ("size", "mag_r"))
    assert status(outcome, "closure/hosts/balance") == "FAIL"
    assert size.n == 12
    assert next(gate for gate in outcome.gates if gate.name == "closure/hosts/balance").value == mag.value
    plain = closed(made_up(np.random.default_rng(1)), POINTS, PARAMS, np.random.default_rng(2))
    assert not [gate for gate in plain.gates if gate.name.endswith("balance")]


def test_the_page_shows_the_balance_of_each_link():
    outcome = closed(balanced(np.random.default_rng(1), 0.6), POINTS, PARAMS, np.random.default_rng(2))
    finder = SimpleNamespace(name="demo1", gates=pd.DataFrame([vars(gate) for gate in outcome.gates]))
    view = closing.links_view(SimpleNamespace(generations=[finder]))
    assert [row[0] for row in view.rows] == [
        "light", "renderer", "hosts", "population", "hosts/balance", "population/balance",
    ]  # fmt: skip
    gate = outcome.gates[-1]
    assert view.rows[-1][2] == "±0.25"
    assert view.rows[-1][3] == f"{interval(gate.value, gate.low, gate.high, 2)}: FAIL"


def test_the_page_says_why_a_link_is_not_measured():
    why = "refused: 590 of 595 test negatives were trained or selected on"
    refused = [replace(point, status="refused", reason=why) for point in POINTS]
    outcome = closed(made_up(np.random.default_rng(1)), refused, PARAMS, np.random.default_rng(2))
    gates = pd.DataFrame([vars(gate) for gate in outcome.gates])
    view = closing.links_view(SimpleNamespace(generations=[SimpleNamespace(name="demo1", gates=gates)]))
    assert view.rows[1][3] == f"NOT MEASURED: bias of renderer: p0.3 is {why}"
    assert answer._figures(gates.iloc[1].to_dict()) == f"bias of renderer: p0.3 is {why}"


def simulated(seed, power=0.0, shift=0.0):
    """A chain as of the demo: 250 lenses, 190 hosts weighted by propensity, injections that are worth some 100 to 180;
    with weights times theta_E to a power, or hosts that differ by ``shift`` standard deviations in one column of four.
    """
    rng = np.random.default_rng(seed)
    weights, columns = (
        rng.lognormal(0.0, 0.7, 190),
        {f"hosts/{k}": rng.normal(shift * (k == 0), 1, 190) for k in range(4)},
    )
    host, of_grid, theta_e = (
        rng.integers(0, 190, 1250),
        rng.integers(0, 190, 3240),
        0.8 + 1.7 * rng.beta(1.4, 2.2, 3490),
    )
    lenses = pd.DataFrame({"painted": 0.9, "own": 0.9, **{name: rng.normal(size=250) for name in columns}})
    others = [f"population/{name}" for name in ("src_mag_r", "src_re_arcsec", "src_q", "lens_q")]
    lenses = lenses.assign(**{name: rng.normal(size=250) for name in others})
    lenses["population/log_theta_e"] = np.log(theta_e[3240:])
    pairs = pd.DataFrame({"lens": np.repeat(np.arange(250), 5), "host": [f"h{k}" for k in host], "probability": 0.9})
    pairs = pairs.assign(propensity=weights[host], **{name: each[host] for name, each in columns.items()})
    grid = pd.DataFrame({"host": [f"h{k}" for k in of_grid], "probability": 0.9, "propensity": weights[of_grid]})
    grid["weight"] = rng.lognormal(0.0, 1.7, 3240) * theta_e[:3240] ** power
    grid = grid.assign(**{name: rng.normal(size=3240) for name in others})
    grid["population/log_theta_e"] = np.log(theta_e[:3240])
    return Chain(lenses, pairs, ("propensity",), grid)


@pytest.mark.slow
def test_right_worlds_seldom_fail_and_wrong_ones_mostly_do():
    def failed(link, **change):
        chains = (_Links(simulated(seed, **change), 500, np.random.default_rng(seed)) for seed in range(100))
        return sum(judged(link, links.balance(link), 0.25).status == "FAIL" for links in chains)

    assert max(failed("hosts"), failed("population")) <= 5
    assert min(failed("population", power=2.0), failed("population", power=-2.0), failed("hosts", shift=0.5)) >= 90
