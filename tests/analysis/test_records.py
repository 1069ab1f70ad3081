"""Gates, measures and outcomes."""

from __future__ import annotations

import pytest

from analysis.diagnostics.masked_pixels import masked_pixels
from analysis.records import Finding, Gate, Measure, Outcome, Point, gate_below, gate_within, merge
from lake import tables
from lake.errors import ParameterError
from tests.analysis.outcomes import masked_params


def test_gates_know_their_side():
    sure, unsure = Measure("x", 0.9, 0.88, 0.92), Measure("x", 0.9, 0.80, 0.95)
    assert gate_below("g", sure, 0.95, "r").status == "PASS"
    assert gate_below("g", sure, 0.85, "r").status == "FAIL"
    assert gate_below("g", sure, 0.85, "r", "WARN").status == "WARN"
    assert gate_below("g", unsure, 0.85, "r").status == "BORDERLINE"
    assert gate_below("g", Measure("x", float("nan")), 0.85, "r").status == "NOT MEASURED"
    with pytest.raises(ParameterError, match="'status' must be one of PASS"):
        Gate("g", "MAYBE", 0, 0, 0, 0, "r")


def test_a_gate_on_both_sides_of_zero_reads_the_whole_interval():
    for ends, expected in (((-0.1, 0.1), "PASS"), ((-0.1, 0.11), "BORDERLINE"), ((0.11, 0.2), "FAIL")):
        assert gate_within("g", Measure("x", sum(ends) / 2, *ends), 0.1, "r").status == expected
        assert gate_within("g", Measure("x", -sum(ends) / 2, -ends[1], -ends[0]), 0.1, "r").status == expected
    assert gate_within("g", Measure("x", -0.2, -0.3, -0.11), 0.1, "r", "WARN").status == "WARN"


@pytest.mark.parametrize("bounds", [{}, {"low": 0.4}, {"high": 0.6}])
def test_a_value_whose_interval_is_not_known_decides_nothing(bounds):
    assert gate_below("g", Measure("x", 0.5, **bounds), 0.85, "r").status == "NOT MEASURED"
    assert gate_within("g", Measure("x", 0.5, **bounds), 0.85, "r").status == "NOT MEASURED"


def test_rows_meet_the_gate_contract():
    outcome = merge("x", [masked_pixels([], [], masked_params())])
    spec = tables.spec("gates")
    row = outcome.gates_rows("run")[0]
    assert set(row) == {c.name for c in spec.columns if c.role != "lineage"}
    assert row["value"] is None
    assert row["status"] in spec.column("status").allowed


def test_findings_and_points_meet_their_contracts():
    points = [
        Point("x/shares", "a", 0.0, 0.5, label="one"),
        Point("x/shares", "b", 0.0, 0.1),
        Point("x/shares", "a", 1.0, 0.7),
    ]
    outcome = merge("all", [Outcome("x", findings=(Finding("Half of them."),), points=tuple(points))])
    assert outcome.findings_rows("run") == [{"run_id": "run", "diagnostic": "x", "finding": "Half of them."}]
    rows = outcome.points_rows("run")
    assert [(row["series"], row["position"]) for row in rows] == [("a", 0), ("b", 0), ("a", 1)]
    assert rows[0]["low"] is None
    for table, found in (("findings", outcome.findings_rows("run")), ("figure_points", rows)):
        assert set(found[0]) == {c.name for c in tables.spec(table).columns if c.role != "lineage"}


def test_merged_outcomes_keep_their_diagnostic_and_their_names():
    parts = [Outcome("a", (Measure("x", 1.0),)), Outcome("b", (Measure("y", 2.0),))]
    rows = merge("all", parts).diagnostics_rows("run")
    assert [row["diagnostic"] for row in rows] == ["a", "b"]
    with pytest.raises(ParameterError, match="free of repeated names"):
        merge("all", [parts[0], parts[0]])
