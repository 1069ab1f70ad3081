"""Decisions declared in one file: taken from the tables, never passed without figures, drawn as a tree."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from analysis.page.report import rendered
from analysis.records import Status
from analysis.reporting import deciding
from analysis.reporting.decisions import chains, compared, is_reached, verdicts
from analysis.reporting.declarations import Declared, declared, gate_of
from analysis.reporting.views import Tag

PROJECT = Path(__file__).resolve().parents[2]
DECISIONS = {one.name: one for one in declared().decisions}


def with_measures(item, **measures):
    """A finder with further rows of `diagnostics`; names have `__` for `/`."""
    rows = [
        {"run_id": "r", "name": name.replace("__", "/"), "diagnostic": "x", "value": v[0], "low": v[1], "high": v[2]}
        for name, v in measures.items()
    ]
    kept = item.diagnostics[~item.diagnostics["name"].isin([row["name"] for row in rows])]
    return dataclasses.replace(item, diagnostics=pd.concat([kept, pd.DataFrame(rows)], ignore_index=True))


def status(inputs, name, **measures):
    item = with_measures(inputs.generations[1], **measures)
    return verdicts(item, inputs)[name].status


def test_what_is_declared_is_complete():
    assert {"Q2.1", "Q2.2", "Q2.3", "Q2.4"} <= set(DECISIONS)
    for one in DECISIONS.values():
        assert (one.threshold is None) == (one.side is None), one.name
        assert {"GO", "NO-GO"} <= set(one.consequence), one.name
        assert "NOT MEASURED" not in one.consequence, "nothing follows from what was not measured"
        assert set(one.then.values()) <= set(DECISIONS), one.name
        assert set(one.evidence.all_of) <= set(DECISIONS), one.name
    spec = {"retrain/auc": 0.9930, "retrain/tier_a_0.3": 0.8, "retrain/tier_a_0.5": 0.65, "retrain/ceiling": 0.4}
    assert {name: DECISIONS[name].threshold for name in spec} == spec
    assert DECISIONS["retrain/completeness"].threshold == 0.07


def test_what_a_gate_refuses_decides_nothing(inputs):
    """A ceiling that bare hosts reach as well, and an effect of the annulus that has a row and no value."""
    item = with_measures(inputs.generations[1], **{"bright_arcs__ceiling__p0.3": (0.9, 0.8, 0.95)})
    others = item.gates[item.gates["name"] != "bright_arcs/ceiling"]
    row = {
        "run_id": "r",
        "name": "bright_arcs/ceiling",
        "diagnostic": "bright_arcs",
        "rule": "above 0.4; bare hosts too",
    }
    for gate, expected in (("GO", "GO"), ("NOT MEASURED", "NOT MEASURED")):
        gates = pd.concat([others, pd.DataFrame([{**row, "status": gate}])], ignore_index=True)
        found = verdicts(dataclasses.replace(item, gates=gates), inputs)["Q2.1"]
        assert found.status == expected
    assert found.figures == "above 0.4; bare hosts too"
    nan = float("nan")
    unknown = [one.name for one in declared().decisions if one.evidence.check == "annulus"]
    bare = dataclasses.replace(inputs.generations[1], facts={})
    for name in unknown:
        assert verdicts(with_measures(bare, annulus_scoring__auc_loss=(nan, nan, nan)), inputs)[name].status != "GO"
        assert verdicts(with_measures(bare, annulus_scoring__auc_loss=(0.1, 0.0, 0.2)), inputs)[name].status == "GO"


@pytest.mark.parametrize(
    ("name", "measure", "diagnostic", "judged"),
    [
        ("retrain/auc", "auc", "evaluation", True),
        ("anchors/recall", "anchors/recall/p0.5", "anchors", True),
        ("closure/direction", "closure/whole/{}", "closure", True),
        ("Q2.1", "bright_arcs/ceiling/p0.3", "bright_arcs", False),
    ],
)
def test_nothing_is_decided_where_it_is_not_known_what_the_finder_has_seen(inputs, name, measure, diagnostic, judged):
    """But on measures of injections."""
    item, decided = inputs.generations[1], DECISIONS[name]
    good = decided.threshold + (0.005 if decided.side == "above" else -0.005)
    row = {
        "run_id": "r",
        "name": measure.format(inputs.params.headline_threshold_id),
        "diagnostic": diagnostic,
        "value": good,
        "low": good - 0.001,
        "high": good + 0.001,
    }
    others = item.diagnostics[item.diagnostics["name"] != row["name"]]
    item = dataclasses.replace(item, diagnostics=pd.concat([others, pd.DataFrame([row])], ignore_index=True))
    gates = item.gates[~item.gates["name"].isin(["untouched_test_set", "bright_arcs/ceiling"])]
    why = "no scored object was trained on; for 840 objects it is not known whether the model was trained on them"
    unknown = {"run_id": "r", "name": "untouched_test_set", "status": "NOT MEASURED", "rule": why}
    for more, known in (([], True), ([unknown], False)):
        held = pd.concat([gates, pd.DataFrame(more)], ignore_index=True)
        found = verdicts(dataclasses.replace(item, gates=held), inputs)[name]
        assert found.status == ("GO" if known or not judged else "NOT MEASURED")
    assert (found.figures == why) == judged


@pytest.mark.parametrize(
    ("side", "figure", "expected"),
    [
        ("above", (0.99, 0.985, 0.992), "GO"),
        ("above", (0.98, 0.98, 0.99), "GO"),
        ("above", (0.97, 0.95, 0.979), "NO-GO"),
        ("above", (0.985, 0.97, 0.99), "BORDERLINE"),
        ("below", (0.97, 0.95, 0.98), "GO"),
        ("below", (0.99, 0.981, 0.992), "NO-GO"),
        ("below", (0.985, 0.97, 0.99), "BORDERLINE"),
        ("above", (0.99, float("nan"), float("nan")), "NOT MEASURED"),
    ],
)
def test_a_figure_goes_where_its_whole_interval_does(side, figure, expected):
    one = DECISIONS["retrain/auc"].model_copy(update={"side": side, "threshold": 0.98})
    assert isinstance(one, Declared)
    assert compared(one, *figure) == expected


def test_nothing_is_passed_without_figures(inputs):
    empty = dataclasses.replace(
        inputs.generations[1],
        diagnostics=inputs.generations[1].diagnostics.head(0),
        gates=inputs.generations[1].gates.head(0),
        completeness=pd.DataFrame(),
        injections=pd.DataFrame(),
        facts={},
    )
    bare = dataclasses.replace(inputs, tables=pd.DataFrame(), galleries=())
    found = verdicts(empty, bare)
    went = {name for name, verdict in found.items() if verdict.status != "NOT MEASURED"}
    assert went == {"checklist/literature"}
    assert all(not verdict.consequence for name, verdict in found.items() if name not in went)


def test_the_tree_leads_from_the_annulus_to_retraining(inputs):
    lost = {"annulus_scoring__auc_loss": (0.01, 0.004, 0.016)}
    item = with_measures(inputs.generations[1], **lost)
    found = verdicts(item, inputs)
    assert [[one.declared.name for one in chain] for chain in chains(found)] == [
        ["Q2.3", "Q2.4"],
        ["Q2.1", "cross-model"],
        ["Q2.2"],
    ]
    assert found["Q2.3"].figures == "annulus/median BORDERLINE, annulus/mad NOT MEASURED"
    both = pd.concat([item.gates, item.gates[item.gates["name"] == "annulus/median"].assign(name="annulus/mad")])
    found = verdicts(dataclasses.replace(item, gates=both), inputs)
    assert found["Q2.3"].status == "BORDERLINE"
    assert found["Q2.4"].consequence == "retrain with the scaled annulus"
    assert is_reached(chains(found)[0], 1)
    cosmetic = both.assign(status=both["status"].where(~both["name"].str.startswith("annulus"), "PASS"))
    found = verdicts(dataclasses.replace(item, gates=cosmetic), inputs)
    assert found["Q2.3"].status == "NO-GO"
    one = verdicts(dataclasses.replace(item, gates=cosmetic[cosmetic["name"] != "annulus/mad"]), inputs)
    assert one["Q2.3"].status == "NOT MEASURED", "one of the two gates is missing"
    assert not is_reached(chains(found)[0], 1)


def test_both_reviewers_criteria_are_shown_and_one_miss_fails(inputs):
    met = {
        "auc": (0.996, 0.994, 0.998),
        "recall__tier_A__p0.3": (0.9, 0.85, 0.95),
        "recall__tier_A__p0.5": (0.6, 0.5, 0.64),
        "bright_arcs__ceiling__p0.3": (0.5, 0.45, 0.55),
    }
    assert status(inputs, "retrain/completeness") == "GO"
    assert status(inputs, "retrain/first_reviewer", **met) == "GO"
    assert status(inputs, "retrain/second_reviewer", **met) == "NO-GO"
    del met["bright_arcs__ceiling__p0.3"]
    assert status(inputs, "retrain/first_reviewer", **met) == "NOT MEASURED"
    assert status(inputs, "retrain/second_reviewer", **met) == "NO-GO", "one miss is enough"


def test_a_change_below_two_standard_errors_is_indistinguishable(inputs):
    name = "retrain/auc_change"
    first, second = inputs.generations
    assert verdicts(second, inputs)[name].figures == "the network that it starts from is not known"
    fresh = dataclasses.replace(second, facts={"starts from": "random weights"})
    assert verdicts(fresh, inputs)[name].figures == "it starts from random weights"
    item = dataclasses.replace(second, facts={**second.facts, "starts from": "demo1"})
    better = verdicts(item, inputs)[name]
    assert (better.status, better.consequence) == ("GO", "better")
    refused = dataclasses.replace(item, refusal="refused: 400 of 400 test lenses were trained or selected on")
    found = verdicts(refused, inputs)[name]
    assert found.status == "NOT MEASURED"
    assert found.figures == "demo2 is refused: 400 of 400 test lenses were trained or selected on"
    unknown = {"run_id": "r", "name": "untouched_test_set", "status": "NOT MEASURED", "rule": "nobody knows"}
    gates = pd.concat([first.gates[first.gates["name"] != unknown["name"]], pd.DataFrame([unknown])], ignore_index=True)
    found = verdicts(item, dataclasses.replace(inputs, generations=(dataclasses.replace(first, gates=gates), second)))[
        name
    ]
    assert (found.status, found.figures) == ("NOT MEASURED", "demo1: nobody knows")
    same = dataclasses.replace(item, scores=first.scores)
    found = verdicts(same, inputs)[name]
    assert found.status == "BORDERLINE"
    assert found.figures.startswith("indistinguishable: +0.0000 against demo1; two standard errors are")


def test_the_direction_of_completeness_is_said_where_closure_shows_it(inputs, html, words_only):
    at = inputs.params.headline_threshold_id
    begins = f"demo2 at {at}: closure shows that completeness of injections weighted to the lenses is"
    for figure, said in (
        ((4.0, 1.0, 7.0), f"{begins} higher"),
        ((-1.0, -4.0, 2.0), None),
        ((-4.0, -7.0, -1.0), f"{begins} a lower bound"),
    ):
        item = with_measures(inputs.generations[1], **{f"closure__whole__{at}": figure})
        page = dataclasses.replace(inputs, generations=(inputs.generations[0], item))
        words = deciding.closure_words(page)
        assert [text.startswith(said) for text in words] == ([True] if said else [])
    assert "is a lower bound" in rendered(page).html
    assert "is a lower bound" not in html


def test_a_refused_prior_is_not_shown_as_measured(inputs):
    rows = pd.DataFrame({"prior": ["v1", "anchored"], "completeness": [0.2, 0.3], "refused": [None, None]})
    for frame, expected in (
        (rows, "GO"),
        (rows.assign(completeness=[0.2, None]), "NO-GO"),
        (rows.head(0), "NOT MEASURED"),
    ):
        item = dataclasses.replace(inputs.generations[1], dual_prior=frame)
        assert verdicts(item, inputs)["checklist/priors"].status == expected


def test_a_threshold_that_is_not_selective_measures_no_completeness(inputs):
    item = inputs.generations[1]
    refused = item.thresholds.assign(status=item.thresholds["status"].where(item.thresholds["threshold_id"] != "p0.5"))
    refused["status"] = refused["status"].fillna("not selective")
    found = verdicts(dataclasses.replace(item, thresholds=refused), inputs)["retrain/completeness"]
    assert (found.status, found.figures.split(" (")[0]) == ("NOT MEASURED", "p0.5 is not selective")


def gates_in_code():
    """Names of gates as the code writes them, with x for what it fills in."""
    made = re.compile(r'\b(?:_gate|Gate|gate_below|gate_within|decide|not_measured|seen_gate)\(\s*f?"([^"]+)"')
    texts = [path.read_text() for room in ("analysis", "pipeline") for path in (PROJECT / room).rglob("*.py")]
    return sorted({re.sub(r"{[^}]*}", "x", name) for text in texts for name in made.findall(text)})


@pytest.mark.parametrize("name", gates_in_code())
def test_every_gate_of_the_diagnostics_is_declared(name):
    assert gate_of(name) is not None


def test_balance_is_asked_about_by_its_own_question():
    assert gate_of("closure/hosts").question == "Does this link of the chain leave completeness unchanged?"
    asked = {gate_of(f"closure/{link}/balance").question for link in ("hosts", "population")}
    assert asked == {"Are weighted injections, or their hosts, like the lenses?"}


def test_an_unknown_gate_is_not_declared():
    assert {"saturation", "closure/x", "label_noise/recall"} < set(gates_in_code())
    assert gate_of("nonsense") is None


def test_the_page_shows_tree_tables_and_every_verdict(inputs, html):
    for title in ("Decision tree", "Retraining: gates and the two reviewers", "Publication checklist"):
        assert title in html
    tree, *tables = deciding.decision_items(inputs)
    assert tree.picture.media_type == "image/svg+xml"
    assert len(tree.picture.content) < 150_000
    assert "Q2.2: " in tree.picture.alt
    shown = [cell.status for table in tables for row in table.rows for cell in row if isinstance(cell, Tag)]
    assert len(shown) == len(inputs.generations) * len(DECISIONS)
    assert set(shown) <= set(get_args(Status))
