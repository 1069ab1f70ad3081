"""Reweighting: against grids drawn directly, coverage of its intervals, and refusal where a prior is not covered."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from analysis.results.reweighting import Denominator, Weights, reweighted
from analysis.statistics.intervals import clustered
from analysis.statistics.thresholds import Threshold, bootstrap_thresholds
from analysis.statistics.uncertain import share_interval
from analysis.statistics.weighted import clusters, effective_number, weighted_share
from injection.priors.registry import draw, load_prior
from injection.priors.reweighting import THETA_E, Change, theta_e_shares
from lake.sky.survey import SURVEY
from tests.analysis.cells import cluster_sums
from tests.analysis.coverage import independent
from tests.analysis.weightedcoverage import SETTINGS, Setting, sample, table

N, HOSTS = 6000, 1500
RADII = np.array([0.75, 1.25, 2.0])
HALF = Threshold("p0.5", "fixed", 0.5, np.nan, 100, 10, None, 100, 5, 0.05, 0.01, 0.1)


def grid(prior: str, seed: int) -> pa.Table:
    """Injections at fixed Einstein radii, as a grid draws them."""
    ids = pa.array([f"i{number}" for number in range(N)])
    return draw(load_prior(prior), ids, seed, SURVEY, {THETA_E: RADII[np.arange(N) % 3]})


def found(rows: pa.Table, seed: int) -> pd.DataFrame:
    """Outcomes of a finder that prefers bright, extended sources near the centre, blue ones, and some hosts."""
    rng = np.random.default_rng(seed)
    host = rng.integers(0, HOSTS, N)
    value = {name: rows[name].to_numpy() for name in ("src_mag_r", "src_beta_frac", "src_re_arcsec", "src_g_minus_r")}
    odds = 24.2 - value["src_mag_r"] - 2.0 * value["src_beta_frac"] + 3.0 * value["src_re_arcsec"]
    odds = odds - 0.5 * value["src_g_minus_r"] + rng.normal(0, 0.7, HOSTS)[host]
    probability = expit(3.0 * odds) + rng.normal(0, 0.1, N)
    made = pd.DataFrame({"galaxy_id": host.astype(str), "status": "scored", "probability": probability})
    return made.assign(theta_e=rows[THETA_E].to_numpy(), host_probability=0.4, detectable=odds > 0)


def answered(*asked: Any) -> pd.DataFrame:
    """Rows of an answer by column."""
    return pd.DataFrame(reweighted(*asked))


def shares(injections: pd.DataFrame, weights: Weights) -> tuple[float, float]:
    row = answered(injections, weights, [HALF], {}, Denominator()).iloc[0]
    return float(row["completeness"]), float(row["high_95"] - row["low_95"]) / 3.92


@pytest.mark.parametrize(("drawn", "target"), [
    ("covering", "v1"), ("covering", "v1_wide"), ("covering", "d06"), ("covering", "anchored"), ("v1", "anchored"),
    ("demo", "v1"), ("demo", "anchored"),
])  # fmt: skip
def test_a_reweighted_grid_tells_what_a_directly_drawn_one_does(drawn: str, target: str) -> None:
    rows = grid(drawn, 1)
    change = Change(load_prior(drawn), load_prior(target), SURVEY, (THETA_E,))
    weights = Weights(target, np.exp(change.log_weights(rows)), change.support(N))
    assert weights.refusal(drawn, 0.95) is None
    estimate, error = shares(found(rows, 2), weights)
    direct, other = shares(found(grid(target, 3), 4), Weights(target, np.ones(N), 1.0))
    assert abs(estimate - direct) < 3.0 * np.hypot(error, other)
    plain, _ = shares(found(rows, 2), Weights(drawn, np.ones(N), 1.0))
    assert abs(plain - direct) > 3.0 * np.hypot(error, other)


def test_weighted_intervals_cover_with_shared_hosts() -> None:
    rng, hosts, p, hit, runs = np.random.default_rng(5), np.repeat(np.arange(80), 4), 0.15, 0, 400
    for _ in range(runs):
        own = rng.beta(p * 2, (1 - p) * 2, 80)
        outcome = (rng.random(320) < own[hosts]).astype(float)
        weights = np.exp(rng.normal(0, 0.8, 320))
        made = weighted_share(hosts, outcome, weights, 0.5, None, 0.95)
        hit += made.low <= p <= made.high
    assert 0.925 <= hit / runs <= 0.985


@pytest.mark.parametrize(("hosts", "uses", "share", "scatter", "along"), [
    (300, 4, 0.9, 0.8, 0.8), (300, 4, 0.9, 0.8, -0.8), (150, 1, 0.7, 1.5, -0.5),
], ids=["missed have small weights", "missed have large weights", "a few have most of the weight"])  # fmt: skip
def test_intervals_cover_where_weights_go_with_the_outcome(
    hosts: int, uses: int, share: float, scatter: float, along: float
) -> None:
    """Logarithms of weights are correlated by `along` with the normal variate whose sign is the outcome."""
    rng, host, hit, runs = np.random.default_rng(8), np.repeat(np.arange(hosts), uses), 0, 400
    for _ in range(runs):
        merit = np.sqrt(0.3) * rng.normal(size=hosts)[host] + np.sqrt(0.7) * rng.normal(size=len(host))
        weights = np.exp(scatter * (along * merit + np.sqrt(1.0 - along**2) * rng.normal(size=len(host))))
        outcome = merit + norm.ppf(share) - scatter * along > 0.0  # weights shift the mean of the variate
        made = weighted_share(host, outcome, weights, 0.5, None, 0.95)
        hit += made.low <= share <= made.high
    assert 0.92 < hit / runs < 0.98


@pytest.mark.slow
def test_the_documented_coverage_of_weighted_intervals_is_reproduced() -> None:
    """A sample of the settings, the same as in the docs; fewer of them, or other seeds, would give other medians."""
    page = (Path(__file__).parents[2] / "docs" / "coverage.md").read_text()
    chosen = np.random.default_rng(5).choice(len(SETTINGS), 180, replace=False)
    rows = table([[SETTINGS[place] for place in chosen[part::3]] for part in range(3)], 140)
    assert len(rows) == 9
    for name, scatter, settings, lowest, median, highest in rows:
        named = [line for line in page.splitlines() if line.startswith(f"| {name} | {scatter} | {settings} |")]
        (row,) = named
        documented = [float(cell) / 100.0 for cell in row.strip("| ").split(" | ")[-3:]]
        assert lowest == pytest.approx(documented[0], abs=0.025)
        assert median == pytest.approx(documented[1], abs=0.01)
        assert highest == pytest.approx(documented[2], abs=0.01)


@pytest.mark.parametrize("setting", [Setting(100, 2, 0.3, 0.4, 1.0, 0.7), Setting(100, 1, 0.05, 0.0, 0.5, -0.7)])
def test_the_simulation_has_the_completeness_that_it_states(setting: Setting) -> None:
    found, weights = sample(np.random.default_rng(2), setting._replace(hosts=400_000))
    assert (found * weights).sum() / weights.sum() == pytest.approx(setting.completeness, rel=0.03)


@pytest.mark.parametrize("along", [-1.5, 0.4, 1.5])
def test_the_weighted_ratio_and_its_error_are_those_of_a_weighted_regression(along: float) -> None:
    """Hajek's estimate is weighted least squares on a constant; its error, with hosts as clusters, the sandwich's."""
    rng, hosts = np.random.default_rng(6), np.repeat(np.arange(3000), 4)
    outcome = (rng.random(12_000) < rng.beta(1.0, 2.0, 3000)[hosts]).astype(float)
    weights = np.exp(rng.normal(0, 0.5, 12_000) + along * outcome)
    made = weighted_share(hosts, outcome, weights, 0.5, None, 0.95)
    groups = {"groups": hosts, "use_correction": False}
    fit = sm.WLS(outcome, np.ones(12_000), weights).fit(cov_type="cluster", cov_kwds=groups)
    assert made.completeness == pytest.approx(fit.params[0])
    assert made.high - made.low == pytest.approx(2 * 1.959964 * fit.bse[0], rel=0.02)


def test_a_few_failures_say_little_about_the_weights_of_failures() -> None:
    outcome, weights = np.ones(100), np.ones(100)
    outcome[:2], weights[:2] = 0.0, 0.05
    made = weighted_share(np.arange(100), outcome, weights, 0.5, None, 0.95)
    p, n_0 = made.completeness, 2.0
    as_seen = 1.0 / (p * (1 - p) * (1 / 98 + 1 / n_0))
    narrow, wide = (independent(p * n, n)[0] for n in (as_seen, made.n_eff))
    assert wide + 0.01 < made.low < narrow - 0.01


def test_one_large_weight_among_the_failures_widens_the_interval() -> None:
    """20 failures, one of weight 10, are 29^2 / 119 in effect, which HC3's factor lowers further; they are drawn little
    towards Kish's number, as here both agree that these weights make the variance larger."""
    outcome, weights = np.ones(3020), np.ones(3020)
    outcome[:20], weights[0] = 0.0, 10.0
    made = weighted_share(np.arange(3020), outcome, weights, 0.5, None, 0.95)
    p, n_0 = made.completeness, 29**2 / 119
    leverage = ((1 - 1 / 20) / (1 - 1 / n_0)) ** 2
    n = 1.0 / (p * (1 - p) * (1 / 3000 + leverage / n_0))
    assert (made.low, made.high) == pytest.approx(independent(p * n, n), abs=2e-4)


def values(seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return np.repeat(np.arange(50), 4), rng.random(200)


@pytest.mark.parametrize("uses", [np.full(50, 4), np.r_[np.ones(40, int), np.full(10, 16)]], ids=["alike", "unlike"])
def test_equal_weights_give_the_intervals_of_the_completeness_table(uses: NDArray[np.int64]) -> None:
    score, hosts = values(1)[1], np.repeat(np.arange(50), uses)
    made = weighted_share(hosts, score, np.full(200, 7.0), 0.7, None, 0.95)
    hits = np.bincount(hosts, score > 0.7)
    low, high = clustered(hits.sum(), 200, cluster_sums(hits, uses), 0.95)
    np.testing.assert_allclose((made.low, made.high), (low[0], high[0]), atol=1e-8)
    assert made.n_eff == pytest.approx(200)
    drawn = bootstrap_thresholds(values(2)[1], 0.1)
    joint = weighted_share(hosts, score, np.ones(200), 0.9, drawn, 0.95)
    np.testing.assert_allclose((joint.low, joint.high), share_interval(hosts, score, drawn, 0.95), atol=1e-8)


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_only_ratios_of_weights_matter_however_large_they_are(factor: float) -> None:
    rng = np.random.default_rng(3)
    hosts, outcome, weights = np.arange(300) // 3, rng.random(300), rng.lognormal(size=300)
    for drawn in (None, (np.array([0.4, 0.5]), np.array([0.3, 0.7]))):
        one, other = (weighted_share(hosts, outcome, w, 0.5, drawn, 0.95) for w in (weights, weights * factor))
        assert astuple(other) == pytest.approx(astuple(one), rel=1e-9)
    assert effective_number(weights * factor) == pytest.approx(effective_number(weights))


def test_injections_without_weight_count_for_nothing() -> None:
    hosts, score = values(3)
    weights = np.where(np.arange(200) < 120, 1.0, 0.0)
    half = weighted_share(hosts, score, weights, 0.5, None, 0.95)
    alone = weighted_share(hosts[:120], score[:120], weights[:120], 0.5, None, 0.95)
    np.testing.assert_allclose((half.low, half.high, half.n_eff), (alone.low, alone.high, 120), atol=1e-8)
    nothing = weighted_share(hosts, score, np.zeros(200), 0.5, None, 0.95)
    assert nothing.n_eff == 0
    assert np.isnan([nothing.completeness, nothing.low, nothing.high]).all()


@pytest.mark.parametrize("names", [[3, 0, 3, 7, 0], [10**15, -4, 10**15, 5], [7], [], ["b", "a", "b"], [2.5, 1.0, 2.5]])
def test_clusters_are_numbered_in_the_order_in_which_they_appear(names: list[Any]) -> None:
    assert clusters(np.array(names)).tolist() == pd.factorize(np.array(names))[0].tolist()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.uint64])
def test_clusters_are_numbers_of_any_kind(kind: type) -> None:
    names = np.array([np.iinfo(kind).max, 3, np.iinfo(kind).max, 0], kind)
    assert clusters(names).tolist() == [0, 1, 0, 2]
    assert clusters(np.repeat(names, 100))[::100].tolist() == [0, 1, 0, 2], "looked up in an array"
    assert clusters(names[:0]).tolist() == []


def test_failed_injections_are_in_no_denominator_and_axes_can_be_told_apart() -> None:
    injections = found(grid("v1", 1), 2)
    injections.loc[injections.index % 2 == 0, "status"] = "failed"
    weights = Weights("v1", np.ones(N), 1.0)
    assert answered(injections, weights, [HALF], {}, Denominator())["n"].to_list() == [N // 2]
    rows = answered(injections, weights, [HALF], {}, Denominator(by=("theta_e", "detectable")))
    pairs = [(radius, told) for radius in RADII for told in (False, True)]
    assert list(zip(rows["theta_e"], rows["detectable"], strict=True)) == pairs
    assert rows["n"].sum() == N // 2
    alone = rows[(rows["theta_e"] == 2.0) & rows["detectable"]].iloc[0]
    held = injections[(injections["theta_e"] == 2.0) & injections["detectable"] & (injections["status"] == "scored")]
    assert alone["completeness"] == pytest.approx((held["probability"] > 0.5).mean())


def test_a_failed_injection_of_which_it_is_not_known_is_not_detectable() -> None:
    injections = found(grid("v1", 1), 2)
    able = int(injections["detectable"][100:].sum())
    injections["detectable"] = injections["detectable"].astype(object)
    injections.loc[injections.index < 100, "detectable"] = None
    rows = answered(injections, Weights("v1", np.ones(N), 1.0), [HALF], {}, Denominator("detectable"))
    assert rows["n"].to_list() == [able]
    told = answered(injections, Weights("v1", np.ones(N), 1.0), [HALF], {}, Denominator(by=("detectable",)))
    assert told["detectable"].to_list() == [False, True, None]


def test_no_injections_represent_nothing() -> None:
    assert Weights("v1", np.ones(0), 1.0).refusal("demo", 0.5) == "no injection was drawn from 'demo'"


def test_the_denominator_is_that_which_is_asked_for() -> None:
    injections, weights = found(grid("v1", 1), 2), Weights("v1", np.ones(N), 1.0)
    injections.loc[injections.index < 100, "host_probability"] = 0.9
    hit, able, bare = injections["probability"] > 0.5, injections["detectable"], injections["host_probability"] <= 0.5
    net = answered(injections, weights, [HALF], {}, Denominator(net=True)).iloc[0]
    assert (net["n"], net["completeness"]) == (N - 100, pytest.approx(hit[bare].mean()))
    both = answered(injections, weights, [HALF], {}, Denominator("detectable", net=True)).iloc[0]
    assert both["population"] == "detectable, net of bare hosts"
    assert (both["n"], both["completeness"]) == ((bare & able).sum(), pytest.approx(hit[bare & able].mean()))
    factor = np.where(injections["theta_e"] == 2.0, 3.0, 0.0)
    seen = answered(injections, weights, [HALF], {}, Denominator(factor=factor)).iloc[0]
    assert seen["completeness"] == pytest.approx(hit[injections["theta_e"] == 2.0].mean())
    assert seen["mean_weight"] == 1.0


@pytest.mark.parametrize(("drawn", "target", "low", "high"), [
    ("anchored", "v1", 0.19, 0.205),  # magnitude 2/3, offset 0.295: 0.197
    ("v1", "anchored", 1.0, 1.0),
    ("v1_wide", "d06", 0.0, 0.2),  # inside its ranges, in the tail of its colours
    ("covering", "d06", 1.0, 1.0),
    ("demo", "v1", 1.0, 1.0),
    ("demo", "d06", 0.0, 0.1),
    ("v1", "v1_wide", 0.2, 0.26),  # half-light radius 4/9, index 1.8/3.5: 0.229
])  # fmt: skip
def test_support_is_the_share_of_the_target_that_the_injections_can_stand_for(
    drawn: str, target: str, low: float, high: float
) -> None:
    change = Change(load_prior(drawn), load_prior(target), SURVEY, (THETA_E,))
    assert low <= change.support(3000) <= high


def test_a_narrow_grid_has_all_its_effective_number_and_is_refused() -> None:
    """The effective number of injections is no check of support."""
    rows = grid("anchored", 1)
    change = Change(load_prior("anchored"), load_prior("v1"), SURVEY, (THETA_E,))
    weights = Weights("v1", np.exp(change.log_weights(rows)), change.support(N))
    assert effective_number(weights.values) == pytest.approx(N)
    assert weights.mean == pytest.approx(0.197, abs=0.001)
    said = weights.refusal("anchored", 0.95)
    assert said is not None
    assert said.startswith("the injections, drawn from 'anchored', cover 19.")
    assert weights.refusal("anchored", 0.15) is None


def test_a_mean_weight_that_is_too_low_is_refused_beyond_its_noise() -> None:
    values = np.tile([0.4, 0.6], 500)
    assert "have a mean weight of 0.500 +- 0.003 under 'mine', below 95%" in str(
        Weights("mine", values, 1.0).refusal("v1", 0.95)
    )
    few = np.array([3.0, 0.1, 0.1, 0.1])
    assert Weights("mine", few, 1.0).refusal("v1", 0.95) is None


def test_einstein_radii_stand_for_the_range_half_way_to_their_neighbours() -> None:
    shares, ends = theta_e_shares(load_prior("anchored"), [1.0, 1.5, 2.0])
    np.testing.assert_allclose(shares, [0.45 / 1.7, 0.5 / 1.7, 0.5 / 1.7], atol=2e-4)
    assert ends == (0.75, 2.25)
    shares, _ = theta_e_shares(load_prior("covering"), [1.0, 1.5, 2.0])
    np.testing.assert_allclose(
        shares, [0.75 * 0.2 + 0.25 * 0.45 / 1.7, *[0.75 * 0.2 + 0.25 * 0.5 / 1.7] * 2], atol=2e-4
    )
    change = Change(load_prior("v1"), load_prior("anchored"), SURVEY, (THETA_E,))
    assert change.support(3000, ends) == pytest.approx(1.45 / 1.7, abs=0.01)


@pytest.mark.usefixtures("whole_stage")
def test_a_completeness_query_imports_nothing_that_takes_as_long_as_itself(tmp_path: Path) -> None:
    """pandas takes a quarter of a second, scipy.stats half a second; torch, scikit-learn and a JVM take longer."""
    code = """
import sys, numpy as np
import pipeline.experiment.reweighting
from click.testing import CliRunner
from pipeline.cli import dhs
ended = CliRunner().invoke(dhs, ["completeness", "--by", "theta_e", "--threshold", "p0.5"])
assert "no params.yaml" in str(ended.exception), ended
from analysis.statistics.thresholds import bootstrap_thresholds
from analysis.statistics.weighted import weighted_share
drawn = bootstrap_thresholds(np.arange(50) / 50, 0.3)
assert weighted_share(np.arange(90) // 3, np.arange(90) / 90, np.ones(90), 0.5, drawn, 0.95).low > 0
slow = {"scipy.stats", "scipy.optimize", "sklearn", "torch", "pyspark", "numba", "astropy", "matplotlib", "mlflow"}
slow |= {"pandas", "pyarrow.dataset", "duckdb", "filelock"}
print((slow | {"scipy.spatial", "analysis.fitted.propensity", "asyncio"}) & set(sys.modules))
"""
    source = Path(__file__).resolve().parents[2]
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("set()\n", "")
