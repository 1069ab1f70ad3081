"""Closure: each link's bias is recovered from made-up chains, and the link that is wrong is the one that fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import norm

from analysis.diagnostics.closure import Chain, _Links, closed, diagnose, failing
from analysis.diagnostics.subject import Subject
from analysis.fitted.propensity import fit
from analysis.statistics.paired import PairedBootstrap, Sample, not_narrower
from lake.sky.survey import SURVEY
from tests.analysis.chains import PARAMS, POINTS, made_up
from tests.analysis.hostgalaxies import SHAPE, galaxies
from tests.analysis.outcomes import measure, status


def test_a_right_chain_closes():
    outcome = closed(made_up(np.random.default_rng(1)), POINTS, PARAMS, np.random.default_rng(2))
    assert {gate.status for gate in outcome.gates} == {"PASS"}
    assert failing(outcome) == []
    whole, parts = measure(outcome, "closure/whole/p0.3"), ("renderer", "hosts/all", "population")
    assert whole.value == pytest.approx(sum(measure(outcome, f"closure/{part}/p0.3").value for part in parts))


@pytest.mark.parametrize(
    ("change", "link"),
    [
        ({"light": 1.1}, "light"),
        ({"light": 1.024}, "light"),
        ({"own": -1.0}, "renderer"),
        ({"hosts": -1.5}, "hosts"),
        ({"grid": -1.5}, "population"),
    ],
)
def test_the_wrong_link_is_named(change, link):
    outcome = closed(made_up(np.random.default_rng(1), **change), POINTS, PARAMS, np.random.default_rng(2))
    assert failing(outcome) == [link]


def test_what_the_finder_answers_is_measured_on_lenses_that_it_has_not_seen():
    """It knows a hundred lenses by heart as painted; light and balance, which it does not decide, count them too."""
    chain = made_up(np.random.default_rng(1))
    seen = np.arange(400) < 100
    known = chain.lenses.assign(
        seen=seen,
        painted=chain.lenses["painted"].mask(seen, 1.0),
        **{"population/x": np.random.default_rng(3).normal(size=400)},
    )
    grid = chain.grid.assign(**{"population/x": np.random.default_rng(4).normal(size=4000)})
    outcome = closed(replace(chain, lenses=known, grid=grid), POINTS, PARAMS, np.random.default_rng(2))
    true, hosts = measure(outcome, "closure/true/p0.3"), measure(outcome, "closure/hosts/all/p0.3")
    assert (true.value, true.n) == (100 * (chain.lenses["painted"][100:] > 0.3).mean(), 300)
    left = chain.pairs[chain.pairs["lens"] >= 100]
    own = (chain.lenses["own"][100:] > 0.3).mean()
    assert (hosts.value, hosts.n) == (pytest.approx(100 * ((left["probability"] > 0.3).mean() - own)), 1800)
    assert status(outcome, "closure/renderer") == "PASS"
    assert (measure(outcome, "closure/left_out").value, measure(outcome, "closure/left_out").n) == (100, 400)
    assert measure(outcome, "closure/light/flux/r").n == measure(outcome, "closure/population/balance/x").n == 400


def test_no_link_passes_where_it_is_not_known_which_lenses_the_finder_has_seen():
    outcome = closed(made_up(np.random.default_rng(1)), POINTS, PARAMS, np.random.default_rng(2), "it is not known")
    found = {gate.name: gate.status for gate in outcome.gates}
    assert found == {
        "closure/light": "PASS",
        **{f"closure/{link}": "NOT MEASURED" for link in ("renderer", "hosts", "population")},
    }
    assert np.isfinite(measure(outcome, "closure/true/p0.3").value)


def estimated(seed, lenses=250, negatives=1200, hosts=600):
    """A chain whose pool hosts follow the lenses' hosts by a fitted propensity, which a finder depends on strongly: the
    true bias of the hosts is zero."""
    rng = np.random.default_rng(seed)
    listed, others = galaxies(lenses, seed, 0.7), galaxies(negatives, seed + 10_000)
    made = fit(listed, others, SHAPE, seed)
    pool, own = galaxies(hosts, seed + 20_000), galaxies(400, seed + 30_000, 0.7)

    def found(rows):
        return (rng.random(len(rows)) < expit(1.2 * (19.0 - rows["mag_z"].to_numpy()))).astype(float)

    lens, place = np.repeat(np.arange(400), 5), rng.integers(0, hosts, 2000)
    names = np.array([f"h{i}" for i in range(hosts)])
    pairs = pd.DataFrame({"lens": lens, "host": names[place], "propensity": made.weights(pool)[place]})
    pairs["probability"] = found(pool.iloc[place])
    own_found = found(own)
    frame = pd.DataFrame({"painted": own_found, "own": own_found, "seen": False, "flux_r": 1.0, "norm_r": 1.0})
    return Chain(frame, pairs, ("propensity",), errors={"propensity": pd.DataFrame(made.directions(pool), index=names)})


def hosts_of(chain):
    return measure(closed(chain, POINTS, PARAMS, np.random.default_rng(2)), "closure/hosts/propensity/p0.3")


def test_the_error_of_fitted_weights_is_in_the_interval_of_the_hosts():
    """Replicates scatter as with weights drawn again from the errors of the fit."""
    chain = estimated(1)
    bare, whole = hosts_of(replace(chain, errors={})), hosts_of(chain)
    assert whole.value == bare.value
    assert whole.high - whole.low > 1.02 * (bare.high - bare.low)
    assert "with the error of its fit" in whole.method
    links = _Links(chain, 400, np.random.default_rng(3))
    weights, along = (
        chain.pairs["propensity"].to_numpy(),
        chain.errors["propensity"].loc[chain.pairs["host"]].to_numpy(),
    )
    hits = (chain.pairs["probability"] > 0.3).to_numpy(float)
    sample = Sample(hits, weights, {"host": links.of_pairs})
    shifts = links._with_errors("propensity", chain.pairs["host"], sample).replicates
    shifts = shifts - links.bootstrap.recall(sample).replicates
    redrawn = weights * np.exp(links.errors["propensity"] @ along.T)
    redrawn = redrawn @ hits / redrawn.sum(axis=1) - weights @ hits / weights.sum()
    assert np.corrcoef(shifts, redrawn)[0, 1] > 0.95
    assert shifts.std() == pytest.approx(redrawn.std(), rel=0.1)


@pytest.mark.slow
def test_replicates_scatter_as_with_weights_fitted_again_to_resampled_galaxies():
    chain = estimated(1)
    links = _Links(chain, 400, np.random.default_rng(3))
    hits, hosts = (chain.pairs["probability"] > 0.3).to_numpy(float), chain.pairs["host"]
    sample = Sample(hits, chain.pairs["propensity"].to_numpy(), {"host": links.of_pairs})
    shifts = links._with_errors("propensity", hosts, sample).replicates - links.bootstrap.recall(sample).replicates
    listed, others, pool = galaxies(250, 1, 0.7), galaxies(1200, 10_001), galaxies(600, 20_001)
    rng, refitted = np.random.default_rng(5), []
    for _ in range(60):
        parts = [rows.sample(len(rows), replace=True, random_state=rng) for rows in (listed, others)]
        of_host = pd.Series(fit(*parts, SHAPE, 1).weights(pool), index=chain.errors["propensity"].index)
        refitted.append(np.average(hits, weights=of_host[hosts]))
    assert np.std(refitted) == pytest.approx(shifts.std(), rel=0.25)


@pytest.mark.slow
def test_the_interval_of_estimated_hosts_covers_no_bias():
    held = np.zeros(2)
    for seed in range(150):
        chain = estimated(seed)
        for place, each in enumerate((replace(chain, errors={}), chain)):
            bias = hosts_of(each)
            held[place] += bias.low <= 0 <= bias.high
    assert held[1] / 150 > 0.93
    assert held[1] >= held[0], "a bootstrap of lenses and hosts is conservative without the error too"


def test_what_was_not_measured_is_said():
    chain = made_up(np.random.default_rng(1))
    without = Chain(chain.lenses, chain.pairs, chain.models, None, "the prior covers 18 % of the lenses")
    outcome = closed(without, POINTS, PARAMS, np.random.default_rng(2))
    assert status(outcome, "closure/population") == "NOT MEASURED"
    assert any("18 %" in gate.rule for gate in outcome.gates)
    elsewhere = closed(chain, POINTS, PARAMS.model_copy(update={"closure_threshold": "p0.9"}), np.random.default_rng(2))
    assert status(elsewhere, "closure/renderer") == "NOT MEASURED"
    why = "refused: 590 of 595 test negatives were trained or selected on"
    refused = [replace(point, status="refused", reason=why) for point in POINTS]
    rules = [
        gate.rule for gate in closed(chain, refused, PARAMS, np.random.default_rng(2)).gates if "light" not in gate.name
    ]
    assert rules == [f"bias of {link}: p0.3 is {why}" for link in ("renderer", "hosts", "population")]


def test_injections_without_weight_are_no_population():
    chain = made_up(np.random.default_rng(1))
    lost = replace(chain, grid=chain.grid.assign(weight=0.0))
    outcome = closed(lost, POINTS, PARAMS, np.random.default_rng(2))
    absent = [m for m in outcome.measures if np.isnan(m.value)]
    assert {m.name.split("/")[1] for m in absent} == {"population", "whole"}
    assert all(m.method.startswith("not measurable: nothing has a weight (") for m in absent)
    gate = next(gate for gate in outcome.gates if gate.name == "closure/population")
    assert gate.status == "NOT MEASURED"
    assert "nothing has a weight" in gate.rule
    assert status(outcome, "closure/renderer") == "PASS"


def test_injections_count_by_their_parameters_and_by_their_hosts():
    """Those without one of the weights are as if they were not there, however they are answered."""
    chain, place = made_up(np.random.default_rng(1)), np.arange(4000)
    lost = chain.grid.assign(all=place % 2, weight=place % 3)
    few = chain.grid[(place % 2 > 0) & (place % 3 > 0)]
    lost["probability"] = chain.grid["probability"].where(chain.grid.index.isin(few.index), 0.0)
    few = few.assign(weight=place[few.index] % 3)
    found, known = (
        measure(closed(replace(chain, grid=grid), POINTS, PARAMS, np.random.default_rng(2)), "closure/population/p0.3")
        for grid in (lost, few)
    )
    assert (found.value, found.n) == (pytest.approx(known.value), len(few))


def test_light_that_is_right_on_average_only_is_named():
    """As of mirrored lenses: half of the arcs are too bright, half too faint."""
    light = np.where(np.arange(400) % 2, 1.1, 0.9)
    outcome = closed(made_up(np.random.default_rng(1), light=light), POINTS, PARAMS, np.random.default_rng(2))
    assert measure(outcome, "closure/light/each/r").value == pytest.approx(0.1, abs=0.01)
    assert failing(outcome) == ["light"]


def test_the_light_of_few_lenses_is_not_certain():
    """One lens rendered right is no proof: all resamples of it are alike."""
    outcome = closed(made_up(np.random.default_rng(1), lenses=1), POINTS, PARAMS, np.random.default_rng(2))
    gate = next(gate for gate in outcome.gates if gate.name == "closure/light")
    assert gate.status == "NOT MEASURED"
    assert gate.rule == "bias of rendered light: 1 lenses, fewer than 10"
    assert status(outcome, "closure/renderer") == "BORDERLINE"


@pytest.mark.parametrize(("part", "column"), [("lenses", "own"), ("pairs", "probability"), ("grid", "probability")])
def test_a_score_that_is_not_finite_is_no_miss(part, column):
    chain = made_up(np.random.default_rng(1))
    assert chain.unscored is None
    assert replace(chain, grid=None).unscored is None
    frame = getattr(chain, part).copy()
    frame.loc[3, column] = np.nan
    assert replace(chain, **{part: frame}).unscored == "1 of 7,200 stamps of the chain have no finite score"


def test_a_chain_that_cannot_be_made_says_why():
    nothing = pd.DataFrame()
    subject = Subject(nothing, nothing, nothing, nothing, POINTS, SURVEY, (0, 0, 1), 1, PARAMS, None, None)
    outcome = diagnose(replace(subject, closure=lambda params: "no injection of the grid was scored"), PARAMS)
    assert {gate.status for gate in outcome.gates} == {"NOT MEASURED"}
    assert {gate.name.split("/")[1] for gate in outcome.gates} == {"light", "renderer", "hosts", "population"}
    assert all("no injection of the grid was scored" in gate.rule for gate in outcome.gates)
    assert outcome.measures[0].method == "not measurable: no injection of the grid was scored"


def test_intervals_of_a_difference_cover_it_with_lenses_and_hosts_in_common():
    covered, runs, rng = 0, 200, np.random.default_rng(7)
    units = {"lens": np.repeat(np.arange(60), 5), "host": rng.integers(0, 40, 300)}
    for _ in range(runs):
        lens, host = rng.normal(1.0, 1.0, 60), rng.normal(0.0, 1.0, 40)
        own = (lens + rng.normal(size=60) > 0).astype(float)
        there = (lens[units["lens"]] + host[units["host"]] + rng.normal(size=300) > 0).astype(float)
        bootstrap = PairedBootstrap({"lens": 60, "host": 40}, 300, rng)
        one = bootstrap.recall(Sample(there, np.ones(300), units))
        other = bootstrap.recall(Sample(own, np.ones(60), {"lens": np.arange(60)}))
        _, low, high = one.minus(other)
        truth = norm.cdf(1 / np.sqrt(3)) - norm.cdf(1 / np.sqrt(2))
        covered += low <= truth <= high
    assert 0.91 <= covered / runs <= 1.0


def test_no_change_in_few_pairs_is_not_certainty():
    assert not_narrower((0.0, 0.0, 0.0), 50) == pytest.approx((0.0, -0.0711, 0.0711), abs=1e-3)
    assert not_narrower((0.1, -0.2, 0.3), 50) == (0.1, -0.2, 0.3)
