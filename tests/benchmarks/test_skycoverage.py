"""Coverage over simulated skies: right intervals hold the truth as often as they say, biased ones do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.skycoverage import covered, summary, truth_of

THRESHOLDS = {"p0.3": 0.3, "p0.5": 0.5}


def skies(bias: float = 0.0, count: int = 200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lenses whose probability is uniform, and estimates of each sky with the interval of their true scatter."""
    rng, sigma = np.random.default_rng(4), 0.03
    lenses = pd.DataFrame({"sky": np.repeat(np.arange(count), 500), "probability": rng.random(500 * count)})
    lenses["half"] = np.where(np.arange(len(lenses)) % 2 == 0, "even", "odd")
    rows = []
    for sky in range(count):
        for name, value in THRESHOLDS.items():
            for family, label in (("all", "all"), ("halves", "even"), ("halves", "odd")):
                estimate = 1.0 - value + bias + sigma * rng.normal()
                ends = {f"{kind}_{end}": estimate + sign * z * sigma for kind, z in (("host", 1.0), ("field", 1.96))
                        for end, sign in (("low", -1), ("high", 1))}  # fmt: skip
                made = {"sky": sky, "threshold_id": name, "family": family, "bin": label, "completeness": estimate}
                rows.append(made | ends)
    return lenses, pd.DataFrame(rows)


def measured(bias: float = 0.0) -> dict:
    lenses, estimates = skies(bias)
    return summary(covered(estimates, truth_of(lenses, THRESHOLDS, {"halves": "half"})))


def test_right_intervals_hold_the_truth_as_often_as_they_say() -> None:
    found = measured()
    assert (found["skies"], found["intervals"]) == (200, 1200)
    assert found["field"]["coverage"] == pytest.approx(0.95, abs=0.02)
    assert found["host"]["coverage"] == pytest.approx(0.683, abs=0.04)
    assert found["field"]["low"] < found["field"]["coverage"] < found["field"]["high"]
    assert found["field"]["effective"] == pytest.approx(1200, rel=0.3), "these intervals are independent"
    row = next(row for row in found["rows"] if row["bin"] == "odd" and row["threshold_id"] == "p0.5")
    assert row["truth"] == pytest.approx(0.5, abs=0.01)
    assert abs(row["bias"]) < 3 * row["bias_error"]


def test_a_bias_is_seen() -> None:
    found = measured(bias=0.04)
    assert found["field"]["coverage"] < 0.8
    assert all(row["bias"] == pytest.approx(0.04, abs=0.01) for row in found["rows"])


def test_the_error_of_the_truth_grows_where_skies_differ() -> None:
    lenses, _ = skies()
    alike = truth_of(lenses, THRESHOLDS, {})
    by_sky = lenses.assign(probability=(lenses["sky"] % 2 == 0).astype(float))
    assert alike["truth_error"][1] == pytest.approx(np.sqrt(0.25 / len(lenses)), rel=0.15)
    assert truth_of(by_sky, THRESHOLDS, {})["truth_error"][1] == pytest.approx(np.sqrt(0.25 / 200), rel=0.01)
