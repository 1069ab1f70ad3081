"""Recall of listed lenses, and leakage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.diagnostics.real_lenses import real_lens_recall
from tests.analysis.outcomes import fixed, measure, status


def test_recall_by_tier_and_leakage():
    lenses = pd.DataFrame(
        {
            "tier": ["A", "A", "A", "B", "B", "B"] * 3,
            "healpix_128": [1, 2, 3, 4, 5, 9] * 3,
            "probability": [0.9, 0.2, np.nan, 0.4, 0.3, 0.99] * 3,
        }
    )
    point = fixed(np.linspace(0, 1, 100))
    outcome = real_lens_recall(lenses, [9, 10], [point])
    assert measure(outcome, "lens_recall/tier_A/p0.3").value == 0.5
    assert measure(outcome, "lens_recall/tier_B/p0.3").value == 0.5
    assert measure(outcome, "lens_recall/all/p0.3").n == 12
    assert measure(outcome, "lens_recall/unscored").value == 3
    assert status(outcome, "lens_recall/leakage_guard") == "FAIL"
    few = measure(real_lens_recall(lenses.iloc[:12], [9, 10], [point]), "lens_recall/all/p0.3")
    assert np.isnan(few.value), "eight are left"
    assert few.method.startswith("refused: 2 of 12 test lenses were trained or selected on")
    assert status(real_lens_recall(lenses.iloc[:5], [9, 10], [point]), "lens_recall/leakage_guard") == "PASS"


def test_what_an_unknown_training_set_held_is_not_measured():
    point = fixed([0.1])
    lenses = pd.DataFrame({"tier": "A", "healpix_128": range(1, 31), "probability": 0.9, "seen_in_training": None})
    outcome = real_lens_recall(lenses, [99], [point])
    assert status(outcome, "lens_recall/leakage_guard") == "NOT MEASURED"
    assert measure(outcome, "lens_recall/all/p0.3").n == 30, "a lens is left out only where it is known to be seen"
    told = real_lens_recall(lenses.assign(seen_in_training=[True, None, False] * 10), [99], [point])
    assert status(told, "lens_recall/leakage_guard") == "FAIL"
    assert measure(told, "lens_recall/all/p0.3").n == 20


def test_a_lens_without_a_pixel_cannot_be_cleared():
    lenses = pd.DataFrame({"tier": ["A"], "healpix_128": [np.nan], "probability": [0.9]})
    outcome = real_lens_recall(lenses, [1], [fixed([0.1])])
    assert status(outcome, "lens_recall/leakage_guard") == "FAIL"


def test_reference_interval_of_tier_a():
    """100 of 112 Tier A: 89.3 %; exact 95 % interval."""
    lenses = pd.DataFrame({"tier": "A", "healpix_128": range(112), "probability": np.r_[np.ones(100), np.zeros(12)]})
    found = measure(real_lens_recall(lenses, [-1], [fixed([0.1])]), "lens_recall/tier_A/p0.3")
    assert (found.value, found.low, found.high) == pytest.approx((0.893, 0.820, 0.943), abs=1e-3)
    assert found.method.startswith("Clopper-Pearson")


def test_the_reference_printed_the_other_interval():
    """Its [82.6, 94.0] for 100 of 112 is Jeffreys': both stand in the table, each with its name."""
    lenses = pd.DataFrame({"tier": "A", "healpix_128": range(112), "probability": np.r_[np.ones(100), np.zeros(12)]})
    outcome = real_lens_recall(lenses, [-1], [fixed([0.1])])
    found = measure(outcome, "lens_recall/tier_A/p0.3/jeffreys")
    assert (found.low, found.high) == pytest.approx((0.826, 0.940), abs=1e-3)
    assert found.method.startswith("Jeffreys")
    assert "89.3 % [82.0, 94.3] of 112 Tier A lenses" in outcome.findings[0].text
    assert [(point.series, point.label) for point in outcome.points] == [("all", "p0.3"), ("Tier A", "p0.3")]
