"""What trivial features tell, and whether a network beats them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve as sklearn_curve

from analysis.diagnostics import shortcuts as shortcuts_module
from analysis.diagnostics import trivial
from analysis.diagnostics.shortcuts import cohen_d, shortcuts
from analysis.diagnostics.trivial import baseline
from analysis.statistics.thresholds import Threshold
from lake.errors import DataError
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import measure, status

NOWHERE = {"fprs": (), "replicates": 1, "seed": 1}
"""No false-positive rate at which to compare."""


def at(*fprs):
    return {"fprs": fprs, "replicates": 300, "seed": 1}


def test_brighter_lenses_are_found_by_flux_alone(galaxies):
    features, label, split, _ = galaxies
    outcome = baseline(features, label, split, label, **NOWHERE)
    assert measure(outcome, "trivial/auc").value > 0.75
    assert measure(outcome, "trivial/auc").low < measure(outcome, "trivial/auc").value
    again = baseline(features, label, split, label, **NOWHERE)
    assert np.array_equal(outcome.arrays["trivial_scores"], again.arrays["trivial_scores"])


@pytest.fixture(scope="module")
def rivals():
    """Labels, splits and one feature that tells lenses at AUC 0.76; half of each class is for training."""
    rng = np.random.default_rng(2)
    label = np.repeat([1, 0, 1, 0], [200, 400, 200, 400])
    return pd.DataFrame({"trivial/flux": label + rng.normal(size=1200)}), label, np.repeat(["train", "test"], 600)


def test_a_network_is_compared_on_the_same_objects(rivals):
    features, label, split = rivals
    perfect = label + np.random.default_rng(0).normal(scale=0.2, size=len(label))
    rates = at(0.5, 0.05, 0.001)
    assert status(baseline(features, label, split, perfect, **rates), "beats_trivial_features") == "PASS"
    noise = np.random.default_rng(0).normal(size=len(label))
    assert status(baseline(features, label, split, noise, **rates), "beats_trivial_features") == "FAIL"
    with pytest.raises(DataError, match="positives and negatives in both train and test"):
        baseline(features, np.zeros(len(label), int), split, label, **NOWHERE)


def test_a_network_that_wins_by_auc_and_loses_at_the_rate_reported_does_not_pass(rivals):
    """The gate of the AUC alone would pass: most lenses rank above most negatives, none above the best of them."""
    features, label, split = rivals
    rng = np.random.default_rng(3)
    network = np.where(label == 1, rng.uniform(0.6, 0.9, 1200), rng.uniform(0.0, 0.7, 1200))
    network[(label == 0) & (rng.random(1200) < 0.1)] = 1.0
    outcome = baseline(features, label, split, network, **at(0.05, 0.001))
    gain, auc = measure(outcome, "trivial/recall_gain/fpr5e-2"), measure(outcome, "trivial/network_gain")
    assert auc.low > 0.0
    assert gain.value < gain.high < 0.0
    test = split == "test"
    found = []
    for scores in (outcome.arrays["trivial_scores"], network[test]):
        fpr, tpr, _ = sklearn_curve(label[test], scores, drop_intermediate=False)
        found.append(tpr[fpr <= 0.05].max())
    assert gain.value == pytest.approx(found[1] - found[0])
    assert status(outcome, "beats_trivial_features/fpr5e-2") == "FAIL"
    assert status(outcome, "beats_trivial_features/fpr1e-3") == "NOT MEASURED"
    assert status(outcome, "beats_trivial_features") == "FAIL"
    tied = baseline(features.gt(0.5).astype(float), label, split, network, **at(0.05))
    assert np.isnan(measure(tied, "trivial/recall_gain/fpr5e-2").value)
    assert status(tied, "beats_trivial_features/fpr5e-2") == "NOT MEASURED", "a baseline of ties is beaten by nothing"
    by_auc = baseline(features, label, split, network, **NOWHERE)
    assert "PASS" in by_auc.gates[0].rule
    assert by_auc.gates[0].status == "NOT MEASURED", "no rate was compared"


def test_shortcuts_are_seen_and_their_absence_too(galaxies, diagnose):
    features, label, split, _ = galaxies
    outcome = shortcuts(features, label, split, SURVEY, diagnose)
    assert status(outcome, "shortcut/core_only") == "WARN"
    assert status(outcome, "shortcut/core_brightness") == "WARN"
    shuffled = np.random.default_rng(5).permutation(label)
    fair = shortcuts(features, shuffled, split, SURVEY, diagnose)
    assert status(fair, "shortcut/core_only") in ("PASS", "BORDERLINE")


@pytest.mark.parametrize("module", [trivial, shortcuts_module])
def test_a_split_without_a_lens_is_not_measured(galaxies, diagnose, module):
    features, label, split, _ = galaxies
    rows = pd.DataFrame({"label": np.where(split == "test", 0, label), "split": split, "score": 0.0})
    subject = SimpleNamespace(features=features, learned=rows, thresholds=(), imaging=SURVEY, seed=1)
    found = module.diagnose(subject, diagnose)
    assert all(np.isnan(one.value) for one in found.measures)
    assert {gate.status for gate in found.gates} == {"NOT MEASURED"}
    assert "the test split has no listed lens" in found.findings[0].text


def test_a_refused_threshold_leaves_a_refused_gain(galaxies, diagnose):
    """Not a gap in the table of finders, beside the gains of others."""
    features, label, split, _ = galaxies
    why = "refused: 600 of 600 test negatives were trained or selected on"
    point = Threshold("fpr5e-2@val", "refused", np.nan, 0.05, 400, None, 200, 600, None, np.nan, np.nan, np.nan)
    beforehand = replace(point, threshold_id="p0.5", target_fpr=np.nan)
    rows = pd.DataFrame({"label": label, "split": split, "score": 0.0})
    subject = SimpleNamespace(
        features=features, learned=rows, thresholds=(beforehand, point), imaging=SURVEY, seed=1,
        untouched=SimpleNamespace(refusal=lambda: why),
    )  # fmt: skip
    found = trivial.diagnose(subject, diagnose)
    gains = [one for one in found.measures if one.name.startswith("trivial/recall_gain")]
    assert [(one.name, one.method) for one in gains] == [("trivial/recall_gain/fpr5e-2", why)]
    assert np.isnan(gains[0].value)


def test_findings_give_the_figures_of_the_tables(galaxies, rivals, diagnose):
    features, label, split = rivals
    outcome = baseline(features, label, split, label, **at(0.05))
    assert f"{measure(outcome, 'trivial/auc').value:.3f}" in outcome.findings[0].text
    assert f"fpr5e-2 by {measure(outcome, 'trivial/recall_gain/fpr5e-2').value:+.3f}" in outcome.findings[0].text
    assert [point.label for point in outcome.points] == ["logistic", "boosting", "the finder"]
    features, label, split, _ = galaxies
    seen = shortcuts(features, label, split, SURVEY, diagnose)
    assert f"core alone with AUC {measure(seen, 'shortcut/core_only_auc').value:.2f}" in seen.findings[0].text


def test_cohen_d():
    rng = np.random.default_rng(0)
    assert cohen_d(rng.normal(0.5, 1, 20_000), rng.normal(0, 1, 20_000)) == pytest.approx(0.5, abs=0.03)
    assert cohen_d(np.ones(3), np.ones(3)) == 0.0
