"""The metrics and curves that DVC shows agree with the rows they come from."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.reporting.summary import curves, metrics
from analysis.statistics.roc import delong


def test_a_generation_has_a_dozen_numbers_that_agree_with_its_rows(inputs):
    item, threshold = inputs.generations[0], inputs.params.headline_threshold_id
    found = metrics(item, threshold)
    assert 10 <= len(found) <= 16
    area = delong(item.scores["label"], item.scores["score"], 0.95)
    assert (found["auc"], found["auc_low"], found["auc_high"]) == pytest.approx(
        (area.auc, area.low, area.high), abs=1e-6
    )
    rows = item.completeness
    row = rows[(rows.cell == "marginal") & (rows.source_mag_bin == "all") & (rows.threshold_id == threshold)].iloc[0]
    assert found["completeness"] == pytest.approx(row.detected / row.n, abs=1e-6)
    assert found["completeness_low"] < found["completeness"] < found["completeness_high"]
    assert found["threshold"] == threshold
    assert found["completeness_unlisted_low"] == pytest.approx(row["unlisted_low"], abs=1e-6)
    assert found["completeness_unlisted_low"] < found["completeness_unlisted_high"]
    assert found["fpr_reached"] == pytest.approx(row.fpr_reached, abs=1e-6)
    negatives = item.scores.loc[item.scores["label"] == 0, "score"]
    lenses = item.scores.loc[item.scores["label"] == 1, "score"]
    assert found["tpr_at_fpr/0.05"] == pytest.approx(
        (lenses > np.sort(negatives)[-int(0.05 * len(negatives)) - 1]).mean()
    )
    statuses = item.gates["status"].tolist()
    counted = (found["gates_passed"], found["gates_warned"], found["gates_failed"])
    assert counted == (
        statuses.count("PASS"),
        statuses.count("BORDERLINE") + statuses.count("WARN"),
        statuses.count("FAIL"),
    )
    assert all(counted[:2]), "the made-up gates pass and warn"


def test_what_is_not_measured_is_left_out(inputs):
    found = metrics(inputs.generations[0], "fpr1e-6@val")
    assert found["threshold"] == "fpr1e-6@val"
    assert "completeness" not in found
    assert "tpr_at_fpr/0.001" not in found, "700 negatives cannot measure it"


def test_curves_have_all_generations_and_the_sums_of_their_rows(inputs):
    found = curves(inputs)
    assert set(found) == {"roc", "completeness", "epochs"}
    assert all(set(frame["generation"]) == {"demo1", "demo2"} for frame in found.values())
    for item in inputs.generations:
        cells = item.completeness[item.completeness["threshold_id"] == inputs.params.headline_threshold_id]
        cells = cells[(cells["cell"] != "marginal") & (cells["source_mag_bin"] == "all")]
        mine = found["completeness"].query("generation == @item.name")
        assert mine["detected"].sum() == cells["detected"].sum()
        assert mine["completeness"].tolist() == pytest.approx((mine["detected"] / mine["n"]).tolist(), abs=1e-6)
        assert (mine["low"] < mine["completeness"]).all()
        curve = found["roc"].query("generation == @item.name")
        assert (curve["fpr"].diff().dropna() >= 0).all()
        assert curve["tpr"].iloc[-1] == 1
        at = curve[curve["fpr"] <= 0.1].iloc[-1]
        above = item.scores.loc[item.scores["label"] == 0, "score"].nlargest(int(0.1 * 700) + 1).iloc[-1]
        lenses = item.scores.loc[item.scores["label"] == 1, "score"]
        assert at["tpr"] == pytest.approx((lenses > above).mean(), abs=0.02)


def test_curves_do_not_depend_on_the_order_of_rows(inputs):
    mixed = replace(inputs, training_epochs=inputs.training_epochs.sample(frac=1, random_state=1))
    for name, frame in curves(mixed).items():
        pd.testing.assert_frame_equal(frame.reset_index(drop=True), curves(inputs)[name].reset_index(drop=True))
