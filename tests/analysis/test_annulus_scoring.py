"""A finder scored with another annulus: losses against independent formulas, and when there is nothing to measure."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from analysis.diagnostics.annulus_scoring import LOSS, Params, Rescoring, annulus_scoring, diagnose
from analysis.diagnostics.subject import Subject
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import measure, status

NATIVE, OTHER = (32.5, 45.0), (20.0, 32.0)
PARAMS = Params.model_construct(
    annulus_loss_max=0.002,
    annulus_scored_per_class=2000,
    annulus_replicates=500,
    annulus_thresholds=(0.3, 0.5),
    comparison_annuli_pixels=(OTHER, NATIVE),
)


def scored(noise: float, lenses: int = 200, others: int = 800) -> tuple[np.ndarray, dict]:
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [lenses, others])
    own = rng.normal(size=len(labels)) + 2.5 * labels - 1.2
    return labels, {NATIVE: own, OTHER: own + noise * rng.normal(size=len(labels))}


def test_losses_agree_with_independent_formulas():
    labels, scores = scored(1.5)
    outcome = annulus_scoring(labels, NATIVE, scores, PARAMS, 1)
    loss = measure(outcome, LOSS)
    areas = {annulus: roc_auc_score(labels, logits) for annulus, logits in scores.items()}
    assert loss.value == pytest.approx(areas[NATIVE] - areas[OTHER])
    assert loss.low < loss.value < loss.high
    above = {annulus: (expit(logits) > 0.5)[labels == 1] for annulus, logits in scores.items()}
    fall = measure(outcome, "annulus_scoring/20-32/recall_fall/p0.5")
    moved = above[NATIVE].astype(float) - above[OTHER]
    assert fall.value == pytest.approx(moved.mean())
    half = 1.96 * moved.std() / np.sqrt(len(moved))
    assert (fall.low, fall.high) == pytest.approx((moved.mean() - half, moved.mean() + half), abs=0.015)
    assert status(outcome, "annulus_scoring") == "GO"
    assert "no evidence that retraining helps" in outcome.findings[0].text
    assert len(outcome.points) == 2 * 2 * 2


def test_the_same_scores_lose_nothing():
    labels, scores = scored(0.0)
    outcome = annulus_scoring(labels, NATIVE, scores, PARAMS, 1)
    assert measure(outcome, LOSS).value == 0.0
    fall = measure(outcome, "annulus_scoring/20-32/recall_fall/p0.3")
    assert fall.value == 0.0 < fall.high, "no change in 200 lenses does not exclude a change in one of 300"
    assert status(outcome, "annulus_scoring") in ("NO-GO", "BORDERLINE")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ("the code of a user's own finder normalises stamps itself", "normalises stamps itself"),
        (Rescoring(NATIVE, 22.0, lambda rows, annulus: np.zeros(len(rows))), "no other annulus"),
        (Rescoring(NATIVE, 50.0, lambda rows, annulus: pytest.fail("scored for nothing")), "fewer than 10 of a kind"),
    ],
)
def test_what_cannot_be_scored_again_is_not_measured(found, why):
    objects = pd.DataFrame({"galaxy_id": list("abcd"), "label": [0, 1, 0, 1], "score": 0.0, "split": "test"})
    nothing = pd.DataFrame()
    subject = Subject(nothing, objects, nothing, nothing, (), SURVEY, (0, 0, 1), 1, PARAMS, None, None)
    outcome = diagnose(dataclasses.replace(subject, rescoring=lambda: found), PARAMS)
    assert status(outcome, "annulus_scoring") == "NOT MEASURED"
    assert np.isnan(measure(outcome, LOSS).value)
    assert measure(outcome, LOSS).method.startswith("not measurable: ")
    assert why in outcome.findings[0].text


def test_stamps_without_a_finite_score_lose_nothing():
    labels, scores = scored(1.0)
    objects = pd.DataFrame({"label": labels, "score": scores[NATIVE], "split": "test"})
    objects["galaxy_id"] = [f"g{i}" for i in range(len(objects))]
    lost = np.where(np.arange(len(labels)) < 3, np.nan, scores[OTHER])
    nothing = pd.DataFrame()
    subject = Subject(nothing, objects, nothing, nothing, (), SURVEY, (0, 0, 1), 1, PARAMS, None, None)
    again = Rescoring(NATIVE, 50.0, lambda rows, annulus: lost[rows.index])
    outcome = diagnose(dataclasses.replace(subject, rescoring=lambda: again), PARAMS)
    assert status(outcome, "annulus_scoring") == "NOT MEASURED"
    assert measure(outcome, LOSS).method == "not measurable: 3 of 1,000 stamps have no finite score"


def test_a_few_of_each_label_are_scored_again_and_the_native_scores_are_kept():
    labels, scores = scored(1.0)
    objects = pd.DataFrame({"label": labels, "score": scores[NATIVE], "split": "test"})
    objects["galaxy_id"] = [f"g{i}" for i in range(len(objects))]
    seen = []

    def again(rows, annulus):
        seen.append((len(rows), annulus))
        return scores[OTHER][rows.index]

    nothing = pd.DataFrame()
    params = PARAMS.model_copy(update={"annulus_scored_per_class": 150})
    subject = Subject(nothing, objects, nothing, nothing, (), SURVEY, (0, 0, 1), 1, params, None, None)
    outcome = diagnose(dataclasses.replace(subject, rescoring=lambda: Rescoring(NATIVE, 50.0, again)), params)
    assert seen == [(300, OTHER)]
    assert measure(outcome, LOSS).n == 300
