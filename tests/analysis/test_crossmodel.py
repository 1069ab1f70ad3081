"""The same trials scored by two finders: whose the ceiling is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons.crossmodel import crossed, verdict
from analysis.reporting.decisions import verdicts
from tests.analysis import trialframes


def finder(shift: float, per_bin: int = 150) -> pd.DataFrame:
    return trialframes.variant("baseline", trialframes.even(shift), per_bin)


@pytest.mark.parametrize(
    ("shift", "wanted"), [(1.0, "GO"), (-3.25, "NO-GO"), (-2.5, "BORDERLINE"), (-7.0, "BORDERLINE")]
)
def test_the_other_finder_decides(shift, wanted):
    found = crossed(finder(-3.5), finder(shift))
    assert found.status == wanted
    assert found.other.low < found.other.value < found.other.high
    assert found.change.trials == 8 * 150
    assert np.sign(found.change.value) == np.sign(shift + 3.5)


def test_only_common_trials_count_and_they_must_be_the_same():
    own, other = finder(-3.5), finder(-3.5)
    lost = other[other["galaxy_id"] != own["galaxy_id"].iloc[0]]
    found = crossed(own, lost)
    assert found.change.trials == len(lost)
    assert found.change.value == 0.0
    assert found.own == found.other
    assert "not the same" in crossed(own, other.assign(seed=2))
    assert "not the same" in crossed(own, other.assign(src_mag=other["src_mag"] + 0.1))
    assert crossed(own, pd.DataFrame()) == "no bright arc was scored by both"
    assert crossed(own, other.assign(status="failed")) == "no bright arc was scored by both"


def test_one_finder_that_finds_them_is_enough():
    own = finder(-3.5)
    high, low = crossed(own, finder(1.0)), crossed(own, finder(-3.25))
    assert verdict([low, high]) == "GO"
    assert verdict([low, low]) == "NO-GO"
    assert verdict([]) == "NOT MEASURED"


@pytest.mark.usefixtures("whole_stage")
def test_the_page_takes_it_from_its_other_finders(inputs):
    first, second = inputs.generations[:2]
    both = [dataclasses.replace(first, trials=finder(-3.5)), dataclasses.replace(second, trials=finder(1.0))]
    page = dataclasses.replace(inputs, generations=both)
    of_first = verdicts(both[0], page)["cross-model"]
    assert of_first.status == "GO"
    assert f"{second.name}: ceiling " in of_first.figures
    assert verdicts(both[1], page)["cross-model"].status == "NO-GO"
    alone = dataclasses.replace(inputs, generations=both[:1])
    assert verdicts(both[0], alone)["cross-model"].figures == "no other finder is on this page"
    without = dataclasses.replace(page, generations=[both[0], second])
    assert verdicts(both[0], without)["cross-model"].status == "NOT MEASURED"
