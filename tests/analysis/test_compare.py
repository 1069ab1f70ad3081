"""Generations compared in pairs, and the ranking of unlisted objects."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from analysis.reporting.compare import (
    Fixing,
    comparison,
    completeness_comparison,
    paired_auc_tests,
    paired_completeness,
)
from analysis.reporting.views import measured, reason_for, reasons
from analysis.results.discoveries import VIEWER, ranked_candidates
from analysis.statistics import roc
from analysis.statistics.intervals import clopper_pearson
from analysis.statistics.thresholds import threshold_at_fpr
from lake.errors import DataError, ParameterError
from tests.analysis.report_inputs import generation


def scored(seed=0, gain=0.0, n=600):
    base = np.random.default_rng(0)
    label = (np.arange(n) < 120).astype(int)
    score = base.normal(size=n) + 1.5 * label + gain * label + 0.2 * np.random.default_rng(seed).normal(size=n)
    return pd.DataFrame({"galaxy_id": [f"g{i}" for i in range(n)], "label": label, "score": score})


def test_small_differences_are_indistinguishable():
    tests = paired_auc_tests({"demo1": scored(1), "demo2": scored(2), "demo3": scored(3, gain=1.0)})
    verdicts = dict(zip(tests["a"] + tests["b"], tests["verdict"], strict=True))
    assert verdicts == {"demo1demo2": "indistinguishable", "demo1demo3": "demo3 better", "demo2demo3": "demo3 better"}


def test_pairs_are_matched_by_galaxy_not_by_row():
    first, second = scored(1), scored(2, gain=0.3)
    shuffled = second.sample(frac=1.0, random_state=0).iloc[:500]
    row = paired_auc_tests({"a": first, "b": shuffled}).iloc[0]
    kept = first.merge(shuffled, on="galaxy_id")
    assert row["auc_a"] == pytest.approx(roc.auc(kept["label_x"], kept["score_x"]))
    assert (row["objects"], row["left_out"]) == (500, 100)


def test_labels_of_two_manifests_are_refused():
    other = scored(2)
    other.loc[0, "label"] = 0
    with pytest.raises(DataError, match="disagree on the label"):
        paired_auc_tests({"a": scored(1), "b": other})


def injections(probability, hosts=None, grid="g", status="scored"):
    n = len(probability)
    return pd.DataFrame(
        {
            "grid_id": grid,
            "injection_id": [f"i{k}" for k in range(n)],
            "galaxy_id": hosts if hosts is not None else [f"h{k}" for k in range(n)],
            "status": status,
            "probability": probability,
        }
    )


def test_paired_completeness_counts():
    a, b = injections([0.9, 0.9, 0.1, 0.1]), injections([0.9, 0.1, 0.9, 0.9])
    found = paired_completeness(a, b, 0.5, 0.5)
    assert (found.only_a, found.only_b) == (1, 2)
    assert found.difference == 0.25
    assert found.mcnemar_p == 1.0
    assert found.indistinguishable


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 3), (5, 6), (2, 11), (0, 40)])
def test_mcnemar_is_exact_and_has_no_continuity_correction(only_a, only_b):
    """Also where the corrected chi-square goes wrong: it is undefined at b + c = 0, and below p = 1 at b = c."""
    a = np.r_[np.ones(only_a), np.zeros(only_b), np.ones(9), np.zeros(30)]
    b = np.r_[np.zeros(only_a), np.ones(only_b), np.ones(9), np.zeros(30)]
    found = paired_completeness(injections(a), injections(b), 0.5, 0.5)
    expected = min(mcnemar([[9, only_a], [only_b, 30]], exact=True).pvalue, 1.0)
    assert found.mcnemar_p == pytest.approx(expected)
    assert (found.mcnemar_p == 1.0) == (abs(only_a - only_b) <= 1)


def test_failed_injections_leave_both_denominators():
    a, b = injections([0.9, 0.9, 0.1]), injections([0.9, 0.9, 0.1])
    b.loc[0, "status"] = "failed"
    assert paired_completeness(a, b, 0.5, 0.5).n == 2


def test_shared_hosts_widen_the_paired_interval():
    rng = np.random.default_rng(0)
    flips = np.repeat(rng.random(30) < 0.3, 10)
    a, b = np.full(300, 0.2), np.where(flips, 0.9, 0.2)
    alone = paired_completeness(injections(a), injections(b), 0.5, 0.5)
    hosts = [f"h{k // 10}" for k in range(300)]
    shared = paired_completeness(injections(a, hosts), injections(b, hosts), 0.5, 0.5)
    assert shared.difference == alone.difference
    assert shared.standard_error == pytest.approx(np.sqrt(10) * alone.standard_error, rel=0.05)


def test_the_uncertainty_of_derived_thresholds_is_in_the_paired_interval():
    """Against a joint bootstrap of negatives and hosts; without the thresholds the interval is far too narrow."""
    rng = np.random.default_rng(5)
    shared = rng.normal(size=300)
    negatives = [shared + 0.8 * rng.normal(size=300) for _ in range(2)]
    fixing = Fixing(*(1 / (1 + np.exp(-values)) for values in negatives), 0.05)
    cuts = fixing.thresholds(np.arange(300))
    assert cuts == tuple(threshold_at_fpr(p, 0.05)[0] for p in (fixing.probability_a, fixing.probability_b))
    a, b = (np.clip(cut + 0.2 * rng.normal(size=1000), 0, 1) for cut in cuts)
    found = paired_completeness(injections(a), injections(b), *cuts, fixing)
    draws = []
    for _ in range(2000):
        one, two = fixing.thresholds(rng.integers(300, size=300))
        rows = rng.integers(1000, size=1000)
        draws.append((b[rows] > two).mean() - (a[rows] > one).mean())
    assert found.standard_error == pytest.approx(np.std(draws), rel=0.1)
    exact = paired_completeness(injections(a), injections(b), *cuts)
    assert found.difference == exact.difference
    assert found.high - found.low > 1.5 * (exact.high - exact.low)


def test_different_grids_are_not_compared():
    with pytest.raises(DataError, match="different grids cannot be paired: D03, E04"):
        paired_completeness(injections([0.5], grid="D03"), injections([0.5], grid="E04"), 0.3, 0.3)


def test_comparison_table():
    rows = pd.DataFrame(
        [
            {"name": "auc", "value": 0.9, "low": 0.88, "high": 0.92},
            {"name": "x", "value": None, "low": None, "high": None},
        ]
    )
    table = comparison({"demo1": rows}, ("auc", "x", "y"))
    assert table["demo1"].tolist() == ["0.9000 [0.8800, 0.9200]", "not defined", "not measured"]


def test_recall_and_rates_are_compared_at_every_threshold():
    short = "not measurable with 307 negatives, needs 10,000"
    rows = pd.DataFrame(
        [
            {"name": "recall/tier_A/fpr5e-2@val", "value": 0.5, "low": 0.4, "high": 0.6, "method": ""},
            {"name": "recall/tier_A/fpr1e-3@val", "value": None, "low": None, "high": None, "method": short},
            {"name": "recall/tier_B/fpr5e-2@val", "value": 0.5, "low": 0.4, "high": 0.6, "method": ""},
        ]
    )
    table = comparison({"demo1": rows}, ("recall/tier_A/",)).set_index("metric")["demo1"]
    assert table.to_dict() == {
        "recall/tier_A/fpr5e-2@val": "0.5000 [0.4000, 0.6000]",
        "recall/tier_A/fpr1e-3@val": short,
    }


def test_parts_of_a_refused_figure_are_refused_with_it():
    """A finder without a rate has no row for the ends of its range, which another finder has."""
    names = ("fpr/p0.5", "fpr/p0.5/unlisted_low", "fpr/p0.7")
    whole = pd.DataFrame({"name": names, "value": [0.1, 0.05, 0.02], "low": np.nan, "method": ""})
    why = "refused: 700 of 700 test negatives were trained or selected on"
    told = pd.DataFrame({"name": ["fpr/p0.5", "fpr/p0.7"], "value": [np.nan, 0.02], "low": np.nan, "method": [why, ""]})
    bare = told.drop(0)
    table = comparison({"a": whole, "b": told, "c": bare}, ("fpr/",)).set_index("metric")
    assert table.loc["fpr/p0.5/unlisted_low"].tolist() == ["0.0500", why, "not measured"]
    assert table.loc["fpr/p0.7"].tolist() == ["0.0200"] * 3


def test_a_figure_beside_a_refused_one_is_refused_too():
    """A diagnostic that is refused has one row with the reason; another finder has all of them."""
    why = "not measurable: refused: 122 of 127 test lenses were trained or selected on"
    few = "not measurable: 3 lenses, fewer than 10"
    rows = pd.DataFrame({"name": ["anchors/recall/p0.5", "arcs/pairs"], "value": np.nan, "method": [why, few]})
    assert reason_for("anchors/order", reasons(rows))["method"] == why
    assert reason_for("arcs/delta", reasons(rows)) is None, "why another figure has no value may not hold for this one"
    assert reason_for("anchors/recall/p0.5/jeffreys", reasons(rows))["method"] == why
    assert reason_for("auc", reasons(rows)) is reason_for("auc/x", reasons(rows.iloc[:0])) is None
    assert measured(rows, "anchors/order") == why
    below = pd.DataFrame(
        {"name": ["threshold/p0.5"], "value": np.nan, "method": ["refused: 590 of 595 test negatives"]}
    )
    assert reason_for("closure/hosts/all/p0.5", reasons(below))["method"] == "refused: 590 of 595 test negatives"
    assert reason_for("closure/hosts/all/p0.3", reasons(below)) is None


def test_compared_completeness_has_the_rate_of_its_threshold():
    item = generation("demo1", 0.0, "20-32")
    table = completeness_comparison({"demo1": item.completeness}, {"demo1": item.thresholds})
    found = table.set_index("metric")["demo1"]
    assert re.fullmatch(
        r"[\d.]+ % \[.*\] t \{[\d.]+–[\d.]+\} at FPR [\d.]+ % \[[\d.]+, [\d.]+\] \{[\d.]+–[\d.]+\}",
        found["completeness/fpr5e-2@val"],
    )
    assert found["completeness/p0.3"].startswith("not selective (FPR ")
    assert found["completeness/fpr1e-3@val"] == "not measurable with 400 negatives, needs 10,000"
    bare = completeness_comparison({"demo1": pd.DataFrame()}, {"demo1": item.thresholds})
    assert bare.set_index("metric")["demo1"]["completeness/fpr5e-2@val"] == "no grid"


def test_one_host_measures_no_difference_and_three_no_significant_one():
    alone = paired_completeness(injections([0.9, 0.1], ["h", "h"]), injections([0.9, 0.9], ["h", "h"]), 0.5, 0.5)
    assert np.isnan([alone.low, alone.high]).all()
    assert alone.indistinguishable
    hosts = ["h0"] * 3 + ["h1"] * 3 + ["h2"] * 3
    before, after = np.array([0.9, 0.1, 0.1] * 3), np.array([0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.1, 0.1])
    found = paired_completeness(injections(before, hosts), injections(after, hosts), 0.5, 0.5)
    error = np.std([1 / 3, 1 / 3, 0.0], ddof=1) / np.sqrt(3)
    half = stats.t.ppf(0.975, 2) * error
    assert (found.low, found.high) == pytest.approx((2 / 9 - half, 2 / 9 + half))
    assert found.difference == pytest.approx(2.0 * error), "two standard errors, and an interval that holds 0"
    assert found.indistinguishable


@pytest.mark.parametrize("uses", [2, 49, 98, 103])
def test_hosts_that_change_alike_are_as_sure_as_they_are_many(uses):
    """1 / 49 is no binary number: rounding must not be taken for a standard error."""
    for count, sure in ((3, False), (12, True)):
        hosts = np.repeat([f"h{k}" for k in range(count)], uses)
        after = np.where(np.arange(len(hosts)) % uses == 0, 0.9, 0.1)
        found = paired_completeness(injections(np.full(len(hosts), 0.1), hosts), injections(after, hosts), 0.5, 0.5)
        exact = clopper_pearson(count / uses, count, 0.95)
        assert (found.low, found.high) == pytest.approx((exact.low[0], exact.high[0]))
        assert found.difference / found.standard_error == pytest.approx(stats.norm.isf(0.5**count))
        assert found.indistinguishable is not sure


def test_no_change_among_few_hosts_is_no_certainty():
    same = injections(np.full(20, 0.9))
    found = paired_completeness(same, same, 0.5, 0.5)
    exact = stats.binomtest(0, 20).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((-exact.high, exact.high))
    lost = paired_completeness(same, injections(np.full(20, 0.1)), 0.5, 0.5)
    assert (lost.low, lost.high) == pytest.approx((-1.0, exact.high - 1.0))
    assert not lost.indistinguishable


def test_ranking_leaves_listed_objects_out():
    scores = scored(1, n=200).assign(checkpoint_id="c", probability=0.5, split="test", seen_in_training=False)
    positions = pd.DataFrame({"galaxy_id": scores["galaxy_id"], "ra": 10.0, "dec": -5.0})
    best = ranked_candidates(scores, positions, 5, pd.DataFrame())
    unlisted = scores[scores["label"] == 0]
    assert best["rank"].tolist() == [1, 2, 3, 4, 5]
    assert not best["trained_on"].any()
    assert (
        ranked_candidates(scores.assign(seen_in_training=None), positions, 5, pd.DataFrame())["trained_on"].isna().all()
    )
    assert best["score"].iloc[0] == unlisted["score"].max()
    assert set(best["galaxy_id"]) <= set(unlisted["galaxy_id"])
    assert best["viewer"].iloc[0] == VIEWER.format(ra=10, dec=-5)
    assert VIEWER.format(ra=10, dec=-5).startswith(
        "https://www.legacysurvey.org/viewer?ra=10.000000&dec=-5.000000&layer=ls-dr10"
    )


def test_ranking_refuses_two_models():
    scores = scored(1).assign(checkpoint_id=["a", "b"] * 300, probability=0.5, split="test", seen_in_training=False)
    with pytest.raises(ParameterError, match="'scores' must be of one checkpoint"):
        ranked_candidates(scores, scores, 5, pd.DataFrame())
