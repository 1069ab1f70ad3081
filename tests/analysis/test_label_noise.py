"""Simulated wrong labels: limits, a case that can be counted, and a truth that the simulation must hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from analysis.diagnostics.discovery import DiagnoseParams
from analysis.diagnostics.label_noise import Params, label_noise
from lake.errors import ParameterError
from tests.analysis.outcomes import measure, status

PARAMS = Params.model_construct(
    label_tier_b_false=(0.1, 0.1),
    label_unlisted_per_negative=(0.02, 0.02),
    label_replicates=200,
    label_thresholds=(0.3, 0.5, 0.7),
    label_recall_tolerance=0.05,
)
NONE = PARAMS.model_copy(update={"label_tier_b_false": (0.0, 0.0), "label_unlisted_per_negative": (0.0, 0.0)})


def objects(seed: int = 0, false: float = 0.1, unlisted: float = 0.02, seen: bool = True):
    """3,000 objects of which a few labels are wrong; scores follow the truth (`seen`), or the labels."""
    rng = np.random.default_rng(seed)
    label = (np.arange(3000) < 500).astype(int)
    truth = np.where(label == 1, rng.random(3000) >= false, rng.random(3000) < unlisted).astype(int)
    score = rng.normal(size=3000) - 2.5 + 4.0 * (truth if seen else label)
    return pd.DataFrame({"label": label, "tier": np.where(label == 1, "B", None), "probability": expit(score)}), truth


def test_without_wrong_labels_nothing_changes():
    outcome = label_noise(*objects(), NONE, 1)
    for name in ("recall/p0.5", "fpr/p0.5", "ece"):
        listed = measure(outcome, f"label_noise/{name}/as_labelled").value
        for assumption in ("random", "by_score"):
            found = measure(outcome, f"label_noise/{name}/{assumption}")
            assert (found.value, found.low, found.high) == pytest.approx((listed,) * 3)


def test_wrong_at_random_is_what_counting_says():
    """1 of 10 lenses false and 1 of 50 negatives lenses, whatever their scores: both rates mix by these shares."""
    rows, _ = objects()
    outcome = label_noise(rows, None, PARAMS, 1)
    above = rows["probability"] > 0.5
    recall, fpr = above[rows["label"] == 1].mean(), above[rows["label"] == 0].mean()
    kept, added = 500 * 0.9, 2500 * 0.02
    expected = (kept * recall + added * fpr) / (kept + added)
    assert measure(outcome, "label_noise/recall/p0.5/random").value == pytest.approx(expected, abs=0.004)
    rest, moved = 2500 * 0.98, 500 * 0.1
    expected = (rest * fpr + moved * recall) / (rest + moved)
    assert measure(outcome, "label_noise/fpr/p0.5/random").value == pytest.approx(expected, abs=0.002)


def test_wrong_by_score_finds_the_truth_where_scores_follow_it():
    """Ten skies: the mean error of recall and of the rate is small against what wrong labels do to them.

    The mean of 50 simulations adds 2 % to the scatter of the mean error, which is that of the skies.
    """
    errors, params = [], PARAMS.model_copy(update={"label_replicates": 50})
    for seed in range(10):
        rows, truth = objects(seed)
        outcome = label_noise(rows, truth, params, seed)
        values = [
            [measure(outcome, f"label_noise/{name}/{series}").value for series in ("as_labelled", "by_score", "truth")]
            for name in ("recall/p0.5", "fpr/p0.5")
        ]
        errors.append([(listed - true, simulated - true) for listed, simulated, true in values])
    (recall, simulated_recall), (fpr, simulated_fpr) = np.mean(errors, axis=0)
    assert recall < -0.05
    assert abs(simulated_recall) < 0.4 * abs(recall)
    assert fpr > 0.012
    assert abs(simulated_fpr) < 0.4 * fpr


def test_the_truth_is_within_the_simulated_ranges_and_a_wrong_declaration_is_not():
    wide = PARAMS.model_copy(
        update={
            "label_tier_b_false": (0.05, 0.15),
            "label_unlisted_per_negative": (0.01, 0.03),
            "label_replicates": 100,
        }
    )
    found = [status(label_noise(*objects(seed), wide, seed), "label_noise/truth") for seed in range(8)]
    assert found.count("PASS") >= 6
    assert found.count("FAIL") <= 1, "one of the skies has more unlisted lenses than are declared"
    rows, truth = objects(4)
    outcome = label_noise(rows, truth, NONE, 1)
    assert status(outcome, "label_noise/truth") == "FAIL"
    assert "simulated ranges hold the truth in 0 of 8 figures" in outcome.findings[0].text
    assert status(label_noise(rows, None, PARAMS, 1), "label_noise/truth") == "NOT MEASURED"


def test_the_gate_reads_the_whole_range():
    rows, _ = objects(seen=False)
    few = PARAMS.model_copy(update={"label_tier_b_false": (0.0, 0.01), "label_unlisted_per_negative": (0.0, 1e-4)})
    assert status(label_noise(rows, None, few, 1), "label_noise/recall") == "PASS"
    assert status(label_noise(rows, None, PARAMS, 1), "label_noise/recall") == "BORDERLINE"


@pytest.mark.parametrize("name", ["label_tier_b_false", "label_unlisted_per_negative"])
def test_labels_that_are_mostly_wrong_are_refused(diagnose, name):
    with pytest.raises(ParameterError, match=name):
        DiagnoseParams.load({**diagnose.model_dump(mode="json"), name: [0.1, 0.5]}, "diagnose")


def test_too_few_are_not_measured():
    rows, truth = objects()
    outcome = label_noise(rows.iloc[491:], truth[491:], PARAMS, 1)
    assert {gate.status for gate in outcome.gates} == {"NOT MEASURED"}
    assert "9 lenses of Tier B and 2,500 negatives" in outcome.findings[0].text
