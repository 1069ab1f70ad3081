"""False-positive rates of confusers against counts by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.diagnostics.confusers import Params, confuser_rates
from tests.analysis.outcomes import fixed, measure, status

PARAMS = Params.model_construct(confuser_threshold="p0.3", confuser_excess_max=0.05)


def negatives(ring_above: int, random_above: int) -> pd.DataFrame:
    """100 rings, 400 random negatives, of which so many are above the threshold; a third of each is SER."""
    kinds = ["ring"] * 100 + [None] * 400
    high = np.r_[np.arange(100) < ring_above, np.arange(400) < random_above]
    types = np.where(np.arange(500) % 3 == 0, "SER", "DEV")
    return pd.DataFrame({"confuser_category": kinds, "type_bin": types, "probability": np.where(high, 0.9, 0.1)})


def test_rates_by_category_and_type():
    outcome = confuser_rates(negatives(30, 8), [fixed([0.1])], PARAMS)
    ring = measure(outcome, "confuser_fpr/ring/p0.3")
    low, high = stats.binomtest(30, 100).proportion_ci(0.95, method="exact")
    assert (ring.value, ring.low, ring.high, ring.n) == pytest.approx((0.3, low, high, 100))
    assert measure(outcome, "confuser_fpr/random/p0.3").value == 0.02
    by_type = [measure(outcome, f"confuser_fpr/type/{name}/p0.3") for name in ("SER", "DEV")]
    assert sum(one.value * one.n for one in by_type) == pytest.approx(38)
    both = [measure(outcome, f"confuser_fpr/ring/type/{name}/p0.3") for name in ("SER", "DEV")]
    assert sum(one.value * one.n for one in both) == pytest.approx(30)
    assert {point.label for point in outcome.points if point.figure.endswith("by_type")} == {"SER", "DEV"}
    assert {point.label for point in outcome.points if point.figure.endswith("by_category")} == {
        "random",
        "all confusers",
        "ring",
    }


@pytest.mark.parametrize(
    ("ring", "random", "expected", "words"),
    [
        (30, 8, "WARN", "more often"),
        (2, 8, "BORDERLINE", "not measurably more often"),
        (0, 40, "PASS", "less often"),
    ],
)
def test_the_gate_compares_confusers_with_random_negatives(ring, random, expected, words):
    outcome = confuser_rates(negatives(ring, random), [fixed([0.1])], PARAMS)
    assert status(outcome, "confusers") == expected
    assert f"taken for lenses {words}" in outcome.findings[0].text


def test_without_confusers_nothing_is_measured():
    plain = negatives(0, 1).assign(confuser_category=None)
    for rows in (plain, plain.drop(columns="confuser_category")):
        outcome = confuser_rates(rows, [fixed([0.1])], PARAMS)
        assert status(outcome, "confusers") == "NOT MEASURED"
        assert np.isnan(outcome.measures[-1].value)
        assert outcome.measures[-1].method.startswith("not measurable: no negative")


def test_few_confusers_have_rates_but_no_comparison():
    outcome = confuser_rates(negatives(1, 8).iloc[95:], [fixed([0.1])], PARAMS)
    assert measure(outcome, "confuser_fpr/ring/p0.3").n == 5
    assert status(outcome, "confusers") == "NOT MEASURED"
