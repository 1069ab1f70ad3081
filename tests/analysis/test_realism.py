"""The realism probe and its ladder on groups whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analysis.comparisons import populations as held
from analysis.comparisons.ladder import GAPS, RUNGS
from analysis.comparisons.populations import EMBEDDING, Population, Populations
from analysis.diagnostics.realism import PAIRS, linear_probe, probed
from lake.errors import DataError
from tests.analysis.outcomes import measure, status
from tests.analysis.populations import group, groups, unembedded, with_truth

HEADLINE = "realism/injections_against_listed_lenses"


def first_two(a, b, params, rng):
    """AUC of the probe, and its p-value."""
    area, p_value, *_ = linear_probe("pair", a, b, EMBEDDING, params, rng)
    assert (area.name, p_value.name) == ("realism/pair/probe_auc", "realism/pair/probe_p")
    return area, p_value


def test_equal_groups_pass_the_probe(diagnose):
    rng = np.random.default_rng(1)
    area, p_value = first_two(group(rng, 80, prefix="a"), group(rng, 80, prefix="b"), diagnose, rng)
    assert area.value == pytest.approx(0.5, abs=0.12)
    assert p_value.value > 0.04
    assert area.low <= area.value <= area.high


def test_different_groups_fail_the_gate(diagnose):
    outcome = probed(groups(np.random.default_rng(1), injected=0.9), diagnose, np.random.default_rng(2))
    assert status(outcome, "realism/linear_probe") == "FAIL"
    assert measure(outcome, f"{HEADLINE}/probe_p").value < 0.06
    assert measure(outcome, f"{HEADLINE}/texture_probe_auc").value > 0.85
    names = {m.name for m in outcome.measures}
    assert f"realism/{list(PAIRS)[4]}/probe_auc" not in names, "a control without its group is left out"


def test_a_finder_without_embedding_is_not_judged_by_texture(diagnose):
    outcome = probed(unembedded(groups(np.random.default_rng(1), injected=0.9)), diagnose, np.random.default_rng(2))
    gate = next(one for one in outcome.gates if one.name == "realism/linear_probe")
    assert gate.status == "NOT MEASURED"
    assert "the finder has no embedding" in gate.rule
    headline = measure(outcome, f"{HEADLINE}/probe_auc")
    assert np.isnan(headline.value)
    assert headline.method == "not measurable: the finder has no embedding"
    assert measure(outcome, f"{HEADLINE}/texture_probe_auc").value > 0.85
    assert not any(m.name.endswith("/probe_p") for m in outcome.measures)
    assert all(np.isnan(m.value) for m in outcome.measures if "ladder" in m.name)
    assert "not measured, because the finder has no embedding; on texture features" in outcome.findings[0].text


def test_too_few_lenses_are_not_measured(diagnose):
    made = groups(np.random.default_rng(1))
    few = {**made.groups, held.LISTED: made.groups[held.LISTED].part(np.arange(60) < 3)}
    outcome = probed(Populations(few, made.absent, made.blocks), diagnose, np.random.default_rng(2))
    assert status(outcome, "realism/linear_probe") == "NOT MEASURED"
    assert measure(outcome, f"{HEADLINE}/probe_auc").method == "not measurable: 3 listed lenses, fewer than 8"


def test_injections_into_one_galaxy_are_not_probed(diagnose):
    """Whole hosts are left out of each fit: where all groups show one, nothing would be left."""
    made = groups(np.random.default_rng(1))
    alone = {held.INJECTIONS, held.BARE_HOSTS, held.LOW_OFFSET, held.HIGH_OFFSET}
    one = {n: dataclasses.replace(g, hosts=np.full(len(g), "h0")) if n in alone else g for n, g in made.groups.items()}
    outcome = probed(Populations(one, made.absent, made.blocks), diagnose, np.random.default_rng(2))
    assert status(outcome, "realism/linear_probe") == "NOT MEASURED"
    assert measure(outcome, f"{HEADLINE}/probe_auc").method == "not measurable: injections of 1 galaxy, fewer than 2"


def test_hosts_are_never_split_between_folds(diagnose):
    """Ten stamps of each host look alike: a probe with leaking folds would tell pure noise apart."""
    rng = np.random.default_rng(2)

    def shared(prefix):
        hosts = np.repeat([f"{prefix}{i}" for i in range(12)], 10)
        features = np.repeat(rng.normal(size=(12, 12)) * 3, 10, axis=0) + rng.normal(size=(120, 12)) * 0.1
        return Population(hosts, features[:, 0], {EMBEDDING: features}, hosts)

    area, _ = first_two(shared("a"), shared("b"), diagnose, rng)
    assert area.value < 0.9
    assert area.high - area.low > 0.2


def test_features_must_be_finite(diagnose):
    rng = np.random.default_rng(0)
    bad = group(rng, 40)
    bad.spaces[EMBEDDING][3] = np.nan
    with pytest.raises(DataError, match="must be finite"):
        first_two(bad, group(rng, 40, prefix="b"), diagnose, rng)


def test_an_embedding_that_is_not_finite_is_not_measured(diagnose):
    made = with_truth(np.random.default_rng(1))
    made.groups[held.INJECTIONS].spaces[EMBEDDING][3] = np.inf
    outcome = probed(made, diagnose, np.random.default_rng(2))
    why = "the embedding of 1 of 60 injections is not finite"
    assert measure(outcome, f"{HEADLINE}/probe_auc").method == f"not measurable: {why}"
    assert status(outcome, "realism/linear_probe") == "NOT MEASURED"
    assert measure(outcome, "realism/ladder/grid/probe_auc").method == f"not measurable: {why}"


def test_the_ladder_names_the_part_that_differs(diagnose):
    """Of a gap between lenses and injections, what each rung adds is found where it was put in."""
    wide = diagnose.model_copy(update={"probe_bootstrap": 300})

    def parts(**shifts):
        outcome = probed(with_truth(np.random.default_rng(4), 120, **shifts), wide, np.random.default_rng(5))
        return {name: measure(outcome, f"realism/ladder/gap/{name}") for name in GAPS}, outcome

    hosts, outcome = parts(renderer=0.0, hosts=0.5, population=0.0)
    assert hosts["hosts"].low > 0.2
    assert hosts["renderer"].high < 0.1
    assert abs(hosts["population"].value) < 0.06
    assert hosts["hosts_left_by_matching"].value < hosts["hosts"].value
    assert [point.label for point in outcome.points] == [rung.label for rung in RUNGS.values()]
    assert "hosts +0." in outcome.findings[0].text
    renderer, _ = parts(renderer=0.5, hosts=0.0, population=0.0)
    assert renderer["renderer"].low > 0.2
    assert abs(renderer["hosts"].value) < 0.06


def test_gaps_add_up(diagnose):
    outcome = probed(with_truth(np.random.default_rng(4)), diagnose, np.random.default_rng(5))
    parts = sum(measure(outcome, f"realism/ladder/gap/{name}").value for name, gap in GAPS.items() if gap.of_the_whole)
    assert parts == pytest.approx(measure(outcome, "realism/ladder/grid/probe_auc").value - 0.5)


def test_a_survey_without_truth_says_what_cannot_be_measured(diagnose):
    outcome = probed(groups(np.random.default_rng(1)), diagnose, np.random.default_rng(2))
    rungs = [measure(outcome, f"realism/ladder/{name}/probe_auc") for name in RUNGS]
    assert all(np.isnan(one.value) for one in rungs)
    assert {one.method for one in rungs} == {"not measurable: the truth of this survey's lenses is not known"}
    assert "is not measured, because the truth of this survey's lenses is not known." in outcome.findings[0].text
