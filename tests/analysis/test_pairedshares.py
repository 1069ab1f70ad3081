"""Shares of two finders on the same objects: McNemar's test, and a bootstrap of whole pixels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar

from analysis.reporting.pairedshares import Compared, paired_share_tests
from analysis.results.untouched import untouched
from analysis.statistics import paired
from analysis.statistics.paired import paired_shares
from analysis.statistics.thresholds import threshold_rows
from lake.errors import ParameterError
from tests.analysis.report_inputs import FIXING, points


def outcomes(seed=0, pixels=60, each=8, gain=0.0):
    """Probabilities of two finders whose differences are alike within a pixel."""
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(pixels), each)
    base = rng.normal(size=len(units)) + rng.normal(size=pixels)[units]
    apart = 0.6 * rng.normal(size=(2, pixels))[:, units] + 0.4 * rng.normal(size=(2, len(units)))
    a, b = 1 / (1 + np.exp(-(base + apart + np.array([[0.0], [gain]]))))
    return a, b, units


@pytest.mark.parametrize("gain", [0.0, 0.8])
def test_it_agrees_with_statsmodels(gain):
    a, b, units = outcomes(gain=gain)
    found = paired_shares(a, b, (0.5, 0.5), units, None)
    old, new = a > 0.5, b > 0.5
    table = [[(old & new).sum(), (old & ~new).sum()], [(~old & new).sum(), (~old & ~new).sum()]]
    assert found.mcnemar_p == pytest.approx(mcnemar(table, exact=True).pvalue)
    clustered = OLS(new.astype(float) - old, np.ones(len(old))).fit(cov_type="cluster", cov_kwds={"groups": units})
    assert found.difference == pytest.approx(clustered.params[0])
    assert found.standard_error == pytest.approx(clustered.bse[0], rel=0.05)
    assert found.standard_error > 1.3 * OLS(new.astype(float) - old, np.ones(len(old))).fit().bse[0]
    assert found.indistinguishable is (gain == 0.0)
    turned = paired_shares(b, a, (0.5, 0.5), units, None)
    assert (turned.difference, turned.only_a) == (-found.difference, found.only_b)


def test_no_change_is_no_certainty_and_few_pixels_give_no_interval():
    a, _, units = outcomes()
    same = paired_shares(a, a, (0.5, 0.5), units, None)
    assert (same.only_a, same.only_b, same.difference, same.mcnemar_p) == (0, 0, 0.0, 1.0)
    assert -0.01 < same.low < -0.005 < 0.005 < same.high < 0.01
    few = paired_shares(a, 1 - a, (0.5, 0.5), units % 9, None)
    assert np.isnan([few.low, few.high, few.standard_error]).all()
    assert few.indistinguishable


def test_thresholds_drawn_again_widen_the_interval():
    a, b, units = outcomes(gain=0.8)
    fixed = paired_shares(a, b, (0.5, 0.5), units, None)
    derived = paired_shares(a, b, (0.5, 0.5), units, lambda rng: (0.5, 0.5 + 0.2 * rng.normal()))
    assert derived.standard_error > 1.5 * fixed.standard_error
    assert (derived.only_a, derived.only_b, derived.difference) == (fixed.only_a, fixed.only_b, fixed.difference)


def compared(seed, gain=0.0, seen=0, grid="g"):
    rng, shared = np.random.default_rng(seed), np.random.default_rng(0)
    label = (np.arange(840) < 140).astype(int)
    score = shared.normal(size=840) * 1.3 - 2 + 3.4 * label + gain * label + 0.3 * rng.normal(size=840)
    frame = {"galaxy_id": [f"g{i}" for i in range(840)], "label": label, "probability": 1 / (1 + np.exp(-score))}
    tested = pd.DataFrame(frame).assign(seen_in_training=(label == 1) & (np.arange(840) < seen))
    tested["tier"] = np.where(label == 1, np.where(np.arange(840) % 4 == 0, "A", "B"), None)
    fixing = pd.DataFrame({"galaxy_id": [f"f{i}" for i in range(len(FIXING))], "probability": FIXING})
    injections = tested[["galaxy_id", "probability"]].assign(grid_id=grid, injection_id=tested["galaxy_id"])
    thresholds = pd.DataFrame(threshold_rows(points(tested), "c", "demo"))
    return Compared(untouched(tested), fixing, thresholds, injections.assign(status="scored"))


PIXELS = pd.Series(np.arange(840) % 40, [f"g{i}" for i in range(840)])


def test_every_pair_and_quantity_has_a_row_and_a_verdict(monkeypatch):
    finders = {"demo1": compared(1), "demo2": compared(2), "better": compared(3, gain=2.0)}
    rows = paired_share_tests(finders, PIXELS, "p0.5").set_index(["a", "b", "quantity"])
    assert len(rows) == 3 * 5
    recall = rows.loc[("demo1", "better", "recall")]
    first, second = (finders[name].tested.objects.query("label == 1")["probability"] for name in ("demo1", "better"))
    assert recall["difference"] == pytest.approx((second > 0.5).mean() - (first > 0.5).mean())
    assert (recall["n"], recall["pixels"], recall["verdict"]) == (140, 40, "better higher")
    assert rows.loc[("demo1", "better", "recall/tier_A"), "n"] == 35
    assert rows.loc[("demo1", "demo2", "recall"), "verdict"] == "indistinguishable"
    assert rows.loc[("demo1", "demo2", "completeness"), "n"] == 840
    monkeypatch.setattr(paired, "_REPLICATES", 200)
    at = paired_share_tests(finders, PIXELS, "fpr5e-2@val").set_index(["a", "b", "quantity"])
    assert (at["standard_error"] > 0).all()


def test_what_has_no_figure_has_a_reason():
    finders = {"demo1": compared(1), "exposed": compared(2, seen=135), "other": compared(3, grid="h")}
    rows = paired_share_tests(finders, PIXELS, "p0.5").set_index(["a", "b", "quantity"])
    assert "exposed: refused: 135 of 140 test lenses" in rows.loc[("demo1", "exposed", "recall"), "verdict"]
    assert np.isfinite(rows.loc[("demo1", "exposed", "fpr"), "difference"])
    assert rows.loc[("demo1", "other", "completeness"), "verdict"] == "nothing that both scored"
    few = paired_share_tests(finders, PIXELS % 4, "p0.5").set_index(["a", "b", "quantity"])
    assert few.loc[("demo1", "other", "recall"), "verdict"] == "not measurable with 4 pixels, needs 10"
    unmeasurable = paired_share_tests(finders, PIXELS, "fpr1e-3@val")
    assert unmeasurable["verdict"].str.contains("demo1: not measurable with 400 negatives", regex=False).any()
    with pytest.raises(ParameterError, match=r"'threshold' must be one of p0\.3, .*, got 'p0\.9'"):
        paired_share_tests(finders, PIXELS, "p0.9")
