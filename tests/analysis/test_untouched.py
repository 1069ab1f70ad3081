"""Figures on objects that a finder trained or selected on are refused, or measured on the others with these counted."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from analysis.diagnostics.discovery import found, run
from analysis.diagnostics.subject import Subject
from analysis.page.report import rendered
from analysis.records import Finding, Gate, Measure, Outcome, not_measured
from analysis.reporting.compare import comparison, completeness_comparison, paired_auc_tests
from analysis.reporting.facts import limitations
from analysis.reporting.summary import curves, metrics
from analysis.reporting.thresholds import headline
from analysis.results.evaluation import evaluate
from analysis.results.untouched import exposure, fixed_thresholds, fixing, negatives_for, unjudged, unknown, untouched
from analysis.statistics import roc
from analysis.statistics.thresholds import fix_thresholds, from_rows, threshold_rows
from lake.sky.survey import SURVEY
from tests.analysis.outcomes import measure
from tests.analysis.report_inputs import EVALUATE, FIXING, scores

WHY = "refused: 840 of 840 test galaxies were trained or selected on"


def measured(tested, refused=None):
    points = fix_thresholds(FIXING, tested.loc[tested["label"] == 0, "probability"], EVALUATE, refused)
    return points, evaluate(tested, points, EVALUATE, np.random.default_rng(0))


def test_only_untouched_objects_are_measured_and_the_others_counted():
    """A finder that knows eight of the test lenses by heart gains nothing from them."""
    tested = scores("demo1", 0.0)
    known = (tested["label"] == 1) & (np.arange(840) < 8)
    tested = tested.assign(seen_in_training=known, score=tested["score"].mask(known, 50.0))
    others = tested[~known]
    held = untouched(tested)
    assert held.refusal() is None
    assert held.words == "8 of 840 test galaxies, trained or selected on, are left out"
    outcome = measured(tested)[1]
    assert measure(outcome, "auc").value == roc.auc(others["label"], others["score"])
    assert measure(outcome, "positives").value == 132
    recall = measure(outcome, "recall/p0.5")
    assert (recall.value, recall.n) == ((others[others.label == 1].probability > 0.5).mean(), 132)
    assert {gate.name: gate.status for gate in outcome.gates}["untouched_test_set"] == "FAIL"


GATED = Outcome(
    "x",
    (Measure("x/a", 0.5),),
    (Gate("x/a", "PASS", 0.5, 0.4, 0.6, 1.0, "a below 1"), not_measured("x/b", 1.0, "b below 1; no b")),
    findings=(Finding("a is 0.5."),),
)


@pytest.mark.parametrize("seen", [[True, False], [True, None], [None, None]])
def test_nothing_passes_where_it_is_not_known_what_the_finder_has_seen(seen):
    why = unknown(pd.DataFrame({"seen_in_training": seen}))
    held = unjudged(GATED, why)
    if None not in seen:
        assert held == GATED
        return
    assert held.measures == GATED.measures
    assert [gate.status for gate in held.gates] == ["NOT MEASURED"] * 2
    assert held.gates[0].rule == "a below 1; it is not known what the finder was trained on"
    assert held.gates[1] == GATED.gates[1]
    assert held.findings[0].text == "a is 0.5. This is not judged: it is not known what the finder was trained on."


def test_every_diagnostic_of_objects_that_must_be_untouched_says_so():
    used = re.compile(r"\bsubject\.(untouched|described|closure|arcs|transplants)\b")
    held = {module.__name__ for module in found() if used.search(inspect.getsource(module))}
    asked = {module.__name__ for module in found() if "subject.unknown" in inspect.getsource(module)}
    assert held == asked | {module.__name__ for module in found() if getattr(module, "UNTOUCHED", False)}
    assert len(held) > 10


def test_gates_of_these_diagnostics_are_not_measured_for_an_unknown_finder():
    module = ModuleType("analysis.diagnostics.x")
    module.UNTOUCHED, module.diagnose = True, lambda *_: GATED
    nothing = pd.DataFrame()
    for seen, status in ((None, "NOT MEASURED"), (False, "PASS")):
        objects = pd.DataFrame({"seen_in_training": [seen]})
        subject = Subject(nothing, objects, nothing, nothing, (), SURVEY, (0, 0, 1), 1, None, None, None)
        assert run([module], subject).gates[0].status == status


@pytest.mark.parametrize(("left", "refused"), [(9, True), (10, False)])
def test_lenses_alone_may_be_refused(left, refused):
    """A finder trained on the listed lenses: its rates on negatives hold, its recall and its AUC do not."""
    tested = scores("demo1", 0.0)
    tested["seen_in_training"] = (tested["label"] == 1) & (np.arange(840) < 140 - left)
    outcome = measured(tested)[1]
    why = f"refused: {140 - left} of 140 test lenses were trained or selected on"
    for name in ("auc", "recall/p0.5", "tpr_at_fpr/0.05", "fpr_at_tpr/0.85", "calibration/ece", "precision/p0.5"):
        found = measure(outcome, name)
        assert (found.method == why) == refused, name
        assert np.isnan(found.value) == refused
    assert measure(outcome, "fpr/p0.5").n == 700
    strata = [m for m in outcome.measures if m.name.startswith("stratum/") and m.method == why]
    assert bool(strata) == refused
    assert not [m.name for m in strata if "/fpr/" in m.name]


def test_a_refused_rate_refuses_its_thresholds_and_their_completeness():
    rows = scores("demo1", 0.0).assign(negative_use=None, trained_on=False, seen_in_training=True)
    negative = rows["label"] == 0
    rows.loc[negative, "negative_use"] = "test"
    own = rows[negative].head(400).assign(negative_use="threshold", split="val", probability=FIXING)
    points = fixed_thresholds(pd.concat([rows, own]), EVALUATE)
    by_name = {point.threshold_id: point for point in points}
    for name in ("p0.3", "p0.5", "fpr5e-2@val"):
        assert (by_name[name].status, by_name[name].measurable) == ("refused", False)
        assert by_name[name].reason == "refused: 700 of 700 test negatives were trained or selected on"
        assert np.isnan([by_name[name].threshold, by_name[name].fpr_reached]).all()
    assert by_name["fpr1e-3@val"].status == "not measurable"
    back = {p.threshold_id: p for p in from_rows(pd.DataFrame(threshold_rows(points, "c1", "demo1")))}
    assert {name: (p.status, p.reason) for name, p in back.items()} == {
        name: (p.status, p.reason) for name, p in by_name.items()
    }


def test_negatives_that_were_trained_on_fix_no_threshold():
    rows = pd.DataFrame({"label": 0, "probability": FIXING, "negative_use": "threshold", "split": "val"})
    rows["trained_on"] = np.arange(400) < 150
    rows["seen_in_training"] = True
    testing = rows.assign(negative_use="test", split="test", trained_on=False, seen_in_training=np.arange(400) < 3)
    both = pd.concat([rows, testing, rows.assign(negative_use="host")], ignore_index=True)
    point = {p.threshold_id: p for p in fixed_thresholds(both, EVALUATE)}["fpr5e-2@val"]
    assert (point.negatives, point.test_negatives) == (250, 397)
    assert point.threshold == np.sort(FIXING[150:])[-13]
    assert len(negatives_for(both.assign(trained_on=None), "threshold")) == 400, "not known: none is left out"
    columns = {name: both[name].to_numpy() for name in ("probability", "negative_use", "trained_on")}
    for trained_on, left in (
        (columns["trained_on"], 150),
        (np.where(columns["trained_on"], True, None), 150),
        (None, 0),
    ):
        every = np.broadcast_to(np.asarray(trained_on, dtype=object), len(both))
        assert fixing({**columns, "trained_on": every}).tolist() == FIXING[left:].tolist(), "as of arrays"
    counts = {m.name: (m.value, m.n, m.method) for m in exposure(both)}
    assert counts["exposure/threshold_negatives/trained_on"] == (150.0, 400, "left out")
    assert counts["exposure/hosts/selected_on"] == (250.0, 400, "kept")
    assert counts["exposure/test_galaxies/selected_on"] == (3.0, 400, "left out")
    unknown = next(iter(exposure(both.assign(seen_in_training=None))))
    assert np.isnan(unknown.value)
    assert unknown.method == "not known what the finder was trained on"


@pytest.fixture
def refused(inputs):
    """The inputs, with all test figures of the first model refused."""
    item = inputs.generations[0]
    tested = item.scores.assign(seen_in_training=True)
    points, outcome = measured(tested, "refused: 700 of 700 test negatives were trained or selected on")
    ranked = pd.DataFrame(outcome.diagnostics_rows("demo1"))
    others = item.diagnostics[~item.diagnostics["name"].isin(ranked["name"])]
    changed = replace(
        item,
        scores=tested,
        refusal=untouched(tested).refusal(),
        diagnostics=pd.DataFrame([*ranked.to_dict("records"), *others.to_dict("records")]),
        thresholds=pd.DataFrame(threshold_rows(points, item.checkpoint_id, item.name)),
        completeness=item.completeness.head(0),
        facts={**item.facts, "test figures": WHY},
    )
    return replace(inputs, generations=[changed, inputs.generations[1]])


@pytest.mark.usefixtures("words_only")
def test_no_refused_number_is_shown(inputs, html, refused):
    """Neither in the report nor in metrics, curves and comparisons: the reason stands in its place."""
    item, before = refused.generations[0], inputs.generations[0]
    found = metrics(item, "fpr5e-2@val")
    assert (found["auc"], found["tpr_at_fpr/0.05"]) == (WHY, WHY)
    assert found["completeness"] == "refused: 700 of 700 test negatives were trained or selected on"
    assert not {"auc_low", "completeness_low", "fpr_reached"} & set(found)
    assert headline(item, "p0.5") == headline(item, "fpr5e-2@val") == found["completeness"]
    drawn = curves(refused)
    assert set(drawn["roc"]["generation"]) == set(drawn["completeness"]["generation"]) == {"demo2"}
    table = comparison({"demo1": item.diagnostics}).set_index("metric")["demo1"]
    assert table["auc"] == table["calibration/ece"] == WHY
    rates = completeness_comparison({"demo1": item.completeness}, {"demo1": item.thresholds}).set_index("metric")
    assert rates["demo1"]["completeness/p0.5"].startswith("refused: 700 of 700")
    page = rendered(refused).html
    assert WHY in page
    auc = before.diagnostics.set_index("name")["value"]["auc"]
    assert f"{auc:.3f} [" in html
    assert f"{auc:.3f} [" not in page
    assert f"Test figures of demo1: {WHY}." in limitations(refused)
    assert rendered(replace(refused, generations=[item])).html.count("<figure") < page.count("<figure")


def test_a_pair_with_a_refused_model_is_not_tested(inputs):
    frames = {item.name: item.scores for item in inputs.generations}
    (row,) = paired_auc_tests(frames, {"demo1": WHY}).to_dict("records")
    assert row == {"a": "demo1", "b": "demo2", "verdict": f"demo1 {WHY}"}
