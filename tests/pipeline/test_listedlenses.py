"""What the diagnostics are told of listed lenses and of the truth, and what they leave for the table of test lenses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.diagnostics.discovery import DiagnoseParams
from analysis.diagnostics.missed_lenses import TABLE
from analysis.diagnostics.subject import Subject
from analysis.records import Outcome
from analysis.statistics.thresholds import threshold_rows
from lake.errors import DataError, ParameterError
from lake.sky.survey import SURVEY
from pipeline.project.context import RunContext
from pipeline.realism.cutoutdiagnostics import anchored
from pipeline.realism.listedlenses import lens_table, true_lenses
from pipeline.verbs import closing
from tests.analysis.chains import PARAMS, POINTS, made_up
from tests.analysis.outcomes import fixed, measure
from tests.pipeline.checkout import project_in


def test_ranks_are_joined_to_the_rows_of_the_table():
    rows = pd.DataFrame({"galaxy_id": ["a", "b"], "probability": [0.9, np.float32(0.5)], "name": ["x", np.nan]})
    matched = pd.DataFrame({"galaxy_id": ["b"], "rank": [0.25], "p": [0.5], "effective": [40.0]})
    found = lens_table(Outcome("diagnose", arrays={TABLE: rows, "matched": matched}), {"generation": "demo1"})
    assert found[0]["matched_rank"] is None
    assert found[0]["name"] == "x"
    assert (found[1]["matched_rank"], found[1]["matched_injections"], found[1]["name"]) == (0.25, 40.0, None)
    assert {row["generation"] for row in found} == {"demo1"}
    assert lens_table(Outcome("diagnose"), {}) == []


def test_the_truth_of_a_simulated_survey_names_every_lens(tmp_path: Path):
    context = RunContext("diagnose", "demo1", project_in(tmp_path))
    assert true_lenses(context) is None
    context.root.truth.mkdir(parents=True)
    rows = {"brickname": ["0001p000", "0001p000"], "objid": [3, 4], "is_lens": [True, False]}
    pq.write_table(pa.table(rows), context.root.truth / "sources.parquet")
    assert true_lenses(context) == {"ls-dr10:10000_0001p000_3"}


def test_anchors_of_a_set_are_taken_from_both_halves(tmp_path: Path):
    n = 24
    objects = pd.DataFrame(
        {
            "galaxy_id": [f"g{i}" for i in range(n)], "label": np.repeat([1, 0], n // 2),
            "split": ["train", "test", "val"] * (n // 3), "probability": np.repeat([0.8, 0.1], n // 2),
            "seen_in_training": None,
        }
    )  # fmt: skip
    named = objects[["galaxy_id"]].assign(reference="arXiv:0805.1931", kind=[None] * 12 + ["ring"] * 12)
    nothing, params = pd.DataFrame(), project_in(tmp_path).section(DiagnoseParams, "diagnose")
    subject = Subject(nothing, objects, nothing, nothing, (), SURVEY, (0, 0, 1), 1, params, None, None)
    outcome = anchored(subject, named)
    assert measure(outcome, "anchors/recall/p0.5").n == 12
    assert measure(outcome, "anchors/contamination/p0.5").value == 0.0


@pytest.mark.parametrize(
    ("simulated", "said"),
    [
        (True, r"truth, which holds the lenses of the Test survey, is missing .*`dhs repro` makes it"),
        (False, "--lenses"),
    ],
)
def test_closure_without_known_lenses_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: bool, said: str
):
    for name in ("load_scorer", "audit_manifest", "scored_objects", "survey_chain"):
        monkeypatch.setattr(closing, name, lambda *given: None)
    context = RunContext("diagnose", "demo1", project_in(tmp_path, simulated=simulated))
    with pytest.raises(DataError, match=said):
        closing._measured(context, [], None, None)


def test_closure_at_a_refused_threshold_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    why = "refused: 590 of 595 test negatives were trained or selected on"
    points = [replace(fixed(np.zeros(100)), status="refused", reason=why)]
    rows = pa.Table.from_pylist(threshold_rows(points, "c1", "demo1"))
    monkeypatch.setattr(closing.status, "require_counts", lambda *given: None)
    monkeypatch.setattr(RunContext, "read", lambda *given, **named: rows)
    project = project_in(tmp_path)
    with pytest.raises(DataError, match=f"closure of demo1 is not measured: p0.3 is {why}"):
        closing.closure(project, "demo1", closure_threshold="p0.3")
    with pytest.raises(ParameterError, match=r"'threshold' must be one of p0\.3, got 'p0\.9'"):
        closing.closure(project, "demo1", closure_threshold="p0.9")


@pytest.mark.parametrize("models", [None, Path("models.csv")], ids=["true lenses", "modelled lenses"])
def test_no_link_is_judged_where_it_is_not_known_what_the_finder_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path | None
):
    made = made_up(np.random.default_rng(1))
    for name in ("load_scorer", "audit_manifest", "scored_setting", "read_models", "modelled", "require_truth"):
        monkeypatch.setattr(closing, name, lambda *given: None)
    for name in ("survey_chain", "self_chain"):
        monkeypatch.setattr(closing, name, lambda *given: made)
    monkeypatch.setattr(RunContext, "read", lambda *given, **named: None)
    context = RunContext("diagnose", "demo1", project_in(tmp_path))
    for seen, judged in ((False, True), (None, False)):
        objects = pd.DataFrame({"seen_in_training": [seen]})
        monkeypatch.setattr(closing, "scored_objects", lambda *_, objects=objects: objects)
        outcome = closing._measured(context, POINTS, PARAMS, models)
        held = {gate.status == "NOT MEASURED" for gate in outcome.gates if gate.name != "closure/light"}
        assert held == {not judged}
