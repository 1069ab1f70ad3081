"""Figures at false-positive rates over a declared range of unlisted lenses: bounds that hold whatever they score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from analysis.reporting.facts import limitations
from analysis.reporting.thresholds import completeness_words, marginal_row, points, reached
from analysis.results.evaluation import evaluate
from analysis.results.reweighting import Denominator, Weights, reweighted
from analysis.statistics.thresholds import fix_thresholds, threshold_at_fpr, threshold_rows, unlisted_ends
from analysis.statistics.uncertain import unlisted_ranges
from analysis.statistics.unlisted import lenses_among, rate_range, without
from lake.errors import ParameterError
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import measure
from tests.analysis.report_inputs import EVALUATE, FIXING


def test_the_number_of_lenses_in_a_sample_scatters_around_the_declared_one():
    low, high = lenses_among(616, (0.0082, 0.015))
    drawn = np.random.default_rng(0).binomial(616, 0.015, 20_000)
    assert 0.975 <= (drawn <= high).mean() < 0.99
    assert (low, high) == (stats.binom.ppf(0.025, 616, 0.0082), stats.binom.ppf(0.975, 616, 0.015))
    assert lenses_among(1000, (0.0, 0.0)) == (0, 0)
    assert lenses_among(0, (0.1, 0.2)) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=20, max_size=60),
    st.integers(0, 8),
    st.floats(0.02, 0.6),
    st.randoms(use_true_random=False),
)
def test_no_choice_of_lenses_among_the_negatives_leaves_the_range(scores, most, fpr, chance):
    """Any m or fewer negatives are lenses: the others' threshold, rate and recall lie between the ends."""
    removed = chance.sample(range(len(scores)), chance.randint(0, most))
    others = np.delete(np.array(scores, float), removed)
    lenses, cut = np.arange(0.5, 60, 3), 30.0
    low, high = sorted(threshold_at_fpr(part, fpr)[0] for part in without(scores, most))
    threshold = threshold_at_fpr(others, fpr)[0]
    assert low <= threshold <= high
    recall = (lenses > high).mean(), (lenses > threshold).mean(), (lenses > low).mean()
    assert recall == tuple(sorted(recall))
    rate = rate_range(int((np.array(scores) > cut).sum()), len(scores), most)
    assert rate.low - 1e-12 <= (others > cut).mean() <= rate.high + 1e-12


def test_the_ends_of_a_rate_have_their_exact_intervals():
    rate = rate_range(41, 616, 16)
    assert (rate.low, rate.high) == (25 / 600, 41 / 600)
    assert rate.bound_low == pytest.approx(proportion_confint(25, 600, method="beta")[0])
    assert rate.bound_high == pytest.approx(proportion_confint(41, 600, method="beta")[1])
    assert (rate_range(3, 616, 16).low, rate_range(0, 10, 10).high) == (0.0, 0.0)


def lensed(seed, lenses=12, negatives=600):
    """Negatives of which some are lenses that a good finder ranks high, and which they are."""
    rng = np.random.default_rng(seed)
    truth = np.arange(negatives) < lenses
    return 1 / (1 + np.exp(-(rng.normal(size=negatives) * 1.4 - 2 + 4.5 * truth))), truth


def test_the_range_holds_the_figures_of_cleaned_negatives():
    """As in the demo: 2 % of the negatives are lenses, and the recall at a rate is too low with them."""
    probability, truth = lensed(1)
    rng = np.random.default_rng(2)
    score = np.r_[np.log(probability / (1 - probability)), rng.normal(size=200) * 1.4 + 2.5]
    objects = pd.DataFrame({"label": np.repeat([0, 1], [600, 200]), "score": score})
    objects["probability"] = 1 / (1 + np.exp(-objects["score"]))
    params = EVALUATE.model_copy(update={"unlisted_lenses_per_negative": (0.01, 0.025)})
    named = fix_thresholds(FIXING, probability, params)
    outcome = evaluate(objects, named, params, np.random.default_rng(0))
    cleaned = threshold_at_fpr(score[:600][~truth], 0.05)[0]
    recall, all_of = (score[600:] > cleaned).mean(), measure(outcome, "tpr_at_fpr/0.05").value
    low, high = (measure(outcome, f"tpr_at_fpr/0.05/unlisted_{end}") for end in ("low", "high"))
    assert low.value <= all_of < recall <= high.value
    assert high.method == "if up to 23 of 600 negatives are unlisted lenses"
    assert low.low < low.value < high.value < high.high
    point = {point.threshold_id: point for point in named}["p0.5"]
    assert point.fpr_unlisted_low <= (probability[~truth] > 0.5).mean() < point.fpr_reached
    assert measure(outcome, "fpr/p0.5/unlisted_low").value == point.fpr_unlisted_low
    assert measure(outcome, "fpr_at_tpr/0.85/unlisted_low").value < measure(outcome, "fpr_at_tpr/0.85").value
    assert measure(outcome, "partial_auc/5e-2/mcclish/unlisted_high").value > 0.7
    undeclared = EVALUATE.model_copy(update={"unlisted_lenses_per_negative": None})
    plain = evaluate(objects, fix_thresholds(FIXING, probability, undeclared), undeclared, np.random.default_rng(0))
    assert not [m.name for m in plain.measures if "unlisted" in m.name]


def test_a_derived_threshold_has_a_range_and_completeness_one_too(inputs):
    probability, truth = lensed(3)
    params = EVALUATE.model_copy(update={"unlisted_lenses_per_negative": (0.01, 0.025)})
    point = {p.threshold_id: p for p in fix_thresholds(probability, probability, params)}["fpr5e-2@val"]
    cleaned = threshold_at_fpr(probability[~truth], 0.05)[0]
    assert point.threshold_low <= cleaned < point.threshold <= point.threshold_high
    placed = inputs.generations[0].injections.assign(cell="0/0/0")
    ends = {point.threshold_id: unlisted_ends(probability, point)}
    found = unlisted_ranges(placed, ends, (23.0, 24.0, 26.0), SURVEY)
    row = found[(found["cell"] == "marginal") & (found["source_mag_bin"] == "all")].iloc[0]
    values = placed["probability"]
    assert row["unlisted_low"] == pytest.approx((values > point.threshold_high).mean())
    assert row["unlisted_high"] == pytest.approx((values > point.threshold_low).mean())
    assert row["unlisted_low"] <= (values > cleaned).mean() <= row["unlisted_high"]
    assert row["unlisted_bound_low"] < row["unlisted_low"] < row["unlisted_high"] < row["unlisted_bound_high"]
    weights = Weights("v1", np.ones(len(placed)), 1.0)
    drawn = {name: both[0][1] for name, both in ends.items()}
    (under,) = reweighted(placed, weights, [point], drawn, Denominator(), ends)
    for name in ("unlisted_low", "unlisted_high", "unlisted_bound_low", "unlisted_bound_high"):
        assert under[name] == pytest.approx(row[name], abs=2e-3)
    assert unlisted_ends(probability, replace(point, lenses_high=None)) is None


def test_a_threshold_that_lenses_alone_may_fix_is_named(inputs):
    fixing = np.random.default_rng(0).random(400)
    params = EVALUATE.model_copy(update={"unlisted_lenses_per_negative": (0.0, 0.04)})
    (point,) = (p for p in fix_thresholds(fixing, fixing, params) if p.threshold_id == "fpr5e-2@val")
    assert point.lenses_may_fix_it
    assert not points(inputs.generations[0].thresholds)["fpr5e-2@val"].lenses_may_fix_it
    stored = pd.DataFrame(threshold_rows([point], "c-demo1", "demo1"))
    said = limitations(replace(inputs, generations=[replace(inputs.generations[0], thresholds=stored)]))
    assert (
        "The threshold fpr5e-2@val of demo1 may be fixed by unlisted lenses alone: up to 24 are declared among its 400 "
        "negatives, of which 20 are expected above it." in said
    )


def test_completeness_is_printed_with_its_range_or_the_page_says_that_none_is_declared(inputs, html):
    item = inputs.generations[0]
    point = points(item.thresholds)["fpr5e-2@val"]
    words = completeness_words(marginal_row(item.completeness, point.threshold_id), point).replace("\u00a0", " ")
    row = marginal_row(item.completeness, point.threshold_id)
    assert f"{{{100 * row['unlisted_low']:.1f}–{100 * row['unlisted_high']:.1f}}} at FPR" in words
    assert words.endswith(f"{{{100 * point.fpr_unlisted_low:.1f}–{100 * point.fpr_unlisted_high:.1f}}}")
    assert "evaluate.unlisted_lenses_per_negative" not in html
    undeclared = EVALUATE.model_copy(update={"unlisted_lenses_per_negative": None})
    testing = item.scores.loc[item.scores["label"] == 0, "probability"]
    stored = pd.DataFrame(threshold_rows(fix_thresholds(FIXING, testing, undeclared), item.checkpoint_id, item.name))
    bare = replace(inputs, generations=[replace(item, thresholds=stored)])
    assert any("is declared (evaluate.unlisted_lenses_per_negative)" in line for line in limitations(bare))
    assert not any("have ranges, in braces" in line for line in limitations(bare)), "none is declared"
    assert "{" not in reached(points(stored)["fpr5e-2@val"])


def test_a_range_is_two_ascending_shares():
    values = EVALUATE.model_dump()
    for bad in ([0.2, 0.1], [-0.1, 0.1], [0.0, 1.0]):
        with pytest.raises(ParameterError, match="must be two ascending numbers from 0 to below 1"):
            type(EVALUATE).load(values | {"unlisted_lenses_per_negative": bad}, "evaluate")
