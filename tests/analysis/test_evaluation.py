"""The evaluation of one model: names, values, and what it refuses to hide."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.results.evaluation import evaluate, with_bins
from analysis.statistics.thresholds import fix_thresholds
from lake.errors import DataError
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import measure, status
from tests.analysis.report_inputs import EVALUATE as PARAMS
from tests.analysis.report_inputs import FIXING


@pytest.fixture
def objects():
    rng = np.random.default_rng(0)
    label = (np.arange(900) < 150).astype(int)
    score = rng.normal(size=900) * 1.5 - 2 + 4 * label
    return pd.DataFrame(
        {
            "label": label,
            "score": score,
            "probability": 1 / (1 + np.exp(-score)),
            "seen_in_training": False,
            "tier": np.where(label == 1, np.where(rng.random(900) < 0.3, "A", "B"), None),
            "type_bin": rng.choice(["SER", "DEV", "REX"], 900),
            "psfsize_r": rng.uniform(0.9, 1.8, 900),
        }
    )


def measured(objects, fixing=FIXING):
    points = fix_thresholds(fixing, objects.loc[objects["label"] == 0, "probability"], PARAMS)
    return evaluate(objects, points, PARAMS, np.random.default_rng(1))


def test_names_and_values(objects):
    outcome = measured(objects)
    names = [m.name for m in outcome.measures]
    assert len(names) == len(set(names))
    auc = measure(outcome, "auc")
    assert auc.low < auc.value < auc.high
    for name in (
        "tpr_at_fpr/0.05",
        "partial_auc/5e-2/mcclish",
        "recall/tier_A/p0.3",
        "fpr/fpr5e-2@val",
        "fpr_at_tpr/0.85",
    ):
        found = measure(outcome, name)
        assert found.low <= found.value <= found.high
    recall = measure(outcome, "recall/p0.3")
    chosen = objects[objects["label"] == 1]
    assert recall.value == pytest.approx((chosen["probability"] > 0.3).mean())
    saturated = ~objects["probability"].between(PARAMS.saturated_below, PARAMS.saturated_above)
    assert measure(outcome, "calibration/saturated_share").value == pytest.approx(saturated.mean()) != 0.0
    assert outcome.gates[0].status == "PASS"


def test_scores_that_may_be_probabilities_are_recorded(objects):
    assert status(measured(objects), "scores_are_logits") == "PASS"
    assert status(measured(objects.assign(score=objects["probability"])), "scores_are_logits") == "WARN"


def test_the_same_seed_gives_the_same_rows(objects):
    first, again = (measured(objects).diagnostics_rows("r") for _ in range(2))
    assert first == again


def test_rows_meet_the_contract(objects):
    from lake import tables

    rows = measured(objects).diagnostics_rows("run")
    names = {c.name for c in tables.spec("diagnostics").columns if c.role != "lineage"}
    assert set(rows[0]) == names
    assert not any(isinstance(v, float) and np.isnan(v) for row in rows for v in row.values())


def test_a_test_set_that_was_trained_on_fails_its_gate(objects):
    objects.loc[3, "seen_in_training"] = True
    gate = measured(objects).gates[0]
    assert (gate.name, gate.status, gate.value) == ("untouched_test_set", "FAIL", 1.0)


def test_an_unknown_training_set_is_no_untouched_test_set(objects):
    objects["seen_in_training"] = None
    gate = measured(objects).gates[0]
    assert (gate.name, gate.status) == ("untouched_test_set", "NOT MEASURED")
    assert "for 900 objects it is not known" in gate.rule


def test_rates_that_the_sample_cannot_measure_say_so(objects):
    outcome = measured(objects)
    assert measure(outcome, "partial_auc/1e-2/raw").method == "not measurable with 750 negatives, needs 1,000"
    for name, negatives in (("tpr_at_fpr/0.001", 750), ("recall/fpr1e-3@val", 400), ("fpr/fpr1e-3@val", 400)):
        found = measure(outcome, name)
        assert np.isnan(found.value)
        assert found.method == f"not measurable with {negatives} negatives, needs 10,000"


def test_recall_is_at_the_threshold_that_other_negatives_fixed(objects):
    """One name, one threshold: not the one that this sample's own negatives would give."""
    recall = measure(measured(objects, FIXING / 2), "recall/fpr5e-2@val")
    threshold = np.sort(FIXING / 2)[::-1][20]
    lenses = objects.loc[objects["label"] == 1, "probability"]
    assert recall.value == pytest.approx((lenses > threshold).mean())
    own = np.sort(objects.loc[objects["label"] == 0, "probability"])[::-1][37]
    assert recall.value != pytest.approx((lenses > own).mean())


def test_without_lenses_only_what_negatives_show_has_a_value(objects):
    """All the same rows: none is missing, and none is an error."""
    negatives = objects[objects["label"] == 0].reset_index(drop=True)
    outcome = measured(negatives)
    rate, recall = (measure(outcome, f"{what}/p0.3") for what in ("fpr", "recall"))
    assert rate.value == pytest.approx((negatives["probability"] > 0.3).mean())
    assert np.isnan(recall.value)
    assert (recall.method, recall.n) == ("no objects", 0)
    assert measure(outcome, "auc").method == "not measurable with 0 lenses and 750 negatives, needs both"


def test_bins_of_equal_numbers(objects):
    binned = with_bins(objects.assign(psfdepth_r=200.0), SURVEY, 3)
    assert binned["psf_bin"].nunique() == 3
    assert binned["psf_bin"].value_counts().min() > 290
    assert binned["psf_bin"].iloc[0].count("-") == 1
    gaps = with_bins(objects.assign(psfsize_r=np.nan, psfdepth_r=200.0), SURVEY, 3)
    assert gaps["psf_bin"].isna().all()
    assert gaps["depth_bin"].nunique() == 1
    with pytest.raises(DataError, match="needs the columns probability"):
        evaluate(objects.drop(columns="probability"), [], PARAMS, np.random.default_rng(1))
