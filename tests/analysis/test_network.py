"""What another finder would change, on common trials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons.network import Finder, network
from analysis.statistics.contrasts import mean_change
from pipeline.reporting.report_inputs import with_networks
from tests.analysis.pairedtrials import finds_the_first, threshold

N = 200
HOSTS = [f"h{place // 2}" for place in range(N)]


def finder(share, **changes):
    """Finds the first trials."""
    return finds_the_first(share, HOSTS, **changes)


def term(found, name="gap_budget/network"):
    return next(m for m in found if m.name == name)


def test_each_other_finder_is_compared_and_the_one_that_differs_most_is_the_term():
    finders = {
        "a": Finder(finder(0.3), [threshold()]),
        "b": Finder(finder(0.4), [threshold()]),
        "c": Finder(finder(0.1), [threshold(value=0.95)]),
    }
    found = network(finders, "a", "p0.5")
    assert term(found, "gap_budget/network/b").value == pytest.approx(10.0)
    assert term(found, "gap_budget/network/c").value == pytest.approx(-30.0), "at its own value of the threshold"
    assert term(found).value == pytest.approx(-30.0)
    assert "of 2 other finders" in term(found).method
    hits = [(np.arange(N) < share * N).astype(float) for share in (0.3, 0.4)]
    expected = mean_change(hits[1] - hits[0], [HOSTS])
    of_b = term(found, "gap_budget/network/b")
    assert (of_b.low, of_b.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    assert of_b.n == N


def test_only_the_same_trials_are_compared():
    own = Finder(finder(0.3), [threshold()])
    for other, why in (
        (Finder(finder(0.4, seed=2), [threshold()]), "not the same"),
        (Finder(pd.DataFrame(), [threshold()]), "no scored trial of sensitivity in common"),
        (Finder(finder(0.4), [threshold(status="not measurable")]), "p0.5 is not measurable"),
    ):
        found = network({"a": own, "b": other}, "a", "p0.5")
        assert np.isnan(term(found).value)
        assert why in term(found).method
        assert term(found).method.startswith("not measurable")
    alone = network({"a": own}, "a", "p0.5")
    assert [m.name for m in alone] == ["gap_budget/network"]
    some = finder(0.4)
    some.loc[some.index[:50], "status"] = "failed"
    common = network({"a": own, "b": Finder(some, [threshold()])}, "a", "p0.5")
    assert term(common).n == N - 50


def test_it_joins_the_terms_of_models_that_have_a_budget(inputs):
    first, second = inputs.generations[:2]
    budget = pd.DataFrame([{**first.diagnostics.iloc[0].to_dict(), "name": "gap_budget/gap", "value": 5.0}])
    with_one = dataclasses.replace(
        first, trials=finder(0.3), diagnostics=pd.concat([first.diagnostics, budget], ignore_index=True)
    )
    without = dataclasses.replace(second, trials=finder(0.4))
    points = first.thresholds[first.thresholds["threshold_id"] == "p0.5"]
    assert len(points) == 1
    made = with_networks([dataclasses.replace(one, thresholds=points) for one in (with_one, without)], "p0.5")
    rows = made[0].diagnostics.set_index("name")
    assert rows.loc["gap_budget/network", "value"] == pytest.approx(10.0)
    assert rows.loc["gap_budget/network", "diagnostic"] == "gap_budget"
    assert made[1].diagnostics is without.diagnostics
    (alone,) = with_networks([dataclasses.replace(with_one, thresholds=points)], "p0.5")
    assert np.isnan(alone.diagnostics.set_index("name").loc["gap_budget/network", "value"])
    assert alone.diagnostics["value"].dtype == float
