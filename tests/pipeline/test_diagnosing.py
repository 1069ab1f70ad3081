"""Campaigns by name: what they run, what they store, and how they stand in the registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.diagnostics import discovery
from analysis.diagnostics.subject import Subject
from analysis.records import Finding, Gate, Measure, Outcome
from demo.truth import BARE_HOSTS
from lake.errors import DataError, ParameterError
from lake.names import RESERVED
from lake.sky.survey import SURVEY
from lake.store.query import query
from pipeline.cli import dhs
from pipeline.finders import diagnosing
from pipeline.finders.campaigns import CAMPAIGNS, Campaign, Recorded
from pipeline.project.project import Project
from pipeline.tables import registry
from tests.pipeline import smallruns

CUTOUTS = pd.DataFrame({"nan_fraction": np.zeros(50), "zero_fraction": np.zeros(50)})


@pytest.fixture
def project(small_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Two finders, and a campaign of one diagnostic that needs nothing but cut-outs."""
    nothing = pd.DataFrame()
    made = Campaign(
        "Are stamps whole?",
        ("masked_pixels", "not_made_yet"),
        {"max_bad_cutout_fraction": 0.2, "unknown_here": 3},
        (Recorded("masked/zero_max", 0.0052), Recorded("masked/other", 0.1, 0.05, 0.15, "its note")),
        "many cut-outs",
        "fine",
    )
    monkeypatch.setattr(diagnosing, "CAMPAIGNS", {**CAMPAIGNS, "D01": made})
    monkeypatch.setattr(diagnosing, "scored", lambda root, invalid: ["demo1", "demo2"])

    def subject(context, params):
        return Subject(nothing, nothing, CUTOUTS, nothing, (), SURVEY, (0, 0, 1), 1, params, None, None)

    monkeypatch.setattr("pipeline.stages.diagnose.subject", subject)
    copy = smallruns.copied(small_runs, tmp_path)
    copy.data.truth.mkdir(parents=True)
    (copy.data.truth / BARE_HOSTS).touch()
    return copy


def test_every_declared_diagnostic_and_parameter_has_a_name_of_ours() -> None:
    """A campaign may name a diagnostic that this version lacks; what it names otherwise is known."""
    for name, one in CAMPAIGNS.items():
        assert re.fullmatch(r"D\d{2}", name)
        assert set(one.params) <= set(discovery.DiagnoseParams.model_fields), name
        assert len(set(one.diagnostics)) == len(one.diagnostics)
        assert {recorded.measure.split("/")[0] for recorded in one.recorded} <= {
            "split", "masked", "annulus", "annulus_scoring", "bright_arcs", "clipping", "poisson", "lens_recall",
            "sensitivity", "realism", "feature_space", "host_pairs", "core_suppression", "anchors",
        }  # fmt: skip


@pytest.mark.usefixtures("whole_stage")
def test_without_the_truth_of_a_simulated_survey_no_campaign_takes_its_lenses_for_unknown(project: Project) -> None:
    (project.data.truth / BARE_HOSTS).unlink()
    with pytest.raises(
        DataError, match=r"which holds the lenses of the Test survey, is missing .*`dhs repro` makes it"
    ):
        diagnosing.repeat(project, "D01", "demo1")


@pytest.mark.usefixtures("whole_stage")
def test_a_campaign_is_stored_as_a_run_of_its_own(project: Project) -> None:
    run, outcome = diagnosing.repeat(project, "d01", "demo1")
    assert run == "D01-demo1"
    rows = query(project.data, f"select name, value from diagnostics where run_id = '{run}'").to_pandas()
    assert set(rows["name"]) == {one.name for one in outcome.measures}
    (gate,) = query(project.data, f"select status, threshold from gates where run_id = '{run}'").to_pylist()
    assert gate == {"status": "PASS", "threshold": 0.2}, "with the campaign's parameters"
    known = {one.run: one for one in registry.own_runs(project)}
    assert (known[run].kind, known[run].finder, known[run].status) == ("diagnostic", "demo1", "valid")
    assert known[run].facts.finding == "gates: 1 PASS"
    assert known["diagnose-demo1"].facts.finding == "gates: 1 PASS", "the stage's own rows stay"
    registry.change(project, run, "invalidated", "the wrong sizes")
    assert query(project.data, f"select * from gates where run_id = '{run}'").num_rows == 0


@pytest.mark.usefixtures("whole_stage")
def test_a_campaign_on_what_does_not_count_says_so(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    diagnosing.repeat(project, "D01", "demo1")
    assert "does not count" not in caplog.text
    registry.change(project, "D01-demo1", "invalidated", "the wrong sizes")
    diagnosing.repeat(project, "D01", "demo1")
    assert "D01-demo1 does not count: D01-demo1 is invalidated: the wrong sizes" in caplog.text


def test_a_budget_is_made_with_what_it_reads() -> None:
    for name, one in CAMPAIGNS.items():
        if "gap_budget" in one.diagnostics:
            assert {"real_lenses", "transplants", "sensitivity", "closure"} <= set(one.diagnostics), name


@pytest.mark.usefixtures("whole_stage")
def test_what_was_made_of_an_invalid_finder_is_invalid(project: Project) -> None:
    diagnosing.repeat(project, "D01", "demo2")
    diagnosing.forget_campaigns(project.data, "demo1")
    assert "D01-demo2" in {one.run for one in registry.own_runs(project)}
    gone = diagnosing.forget_campaigns(project.data, "demo2")
    assert sorted(gone) == [f"{table}.D01-demo2" for table in ("diagnostics", "figure_points", "findings", "gates")]
    assert "D01-demo2" not in {one.run for one in registry.own_runs(project)}


@pytest.mark.usefixtures("whole_stage")
def test_it_is_described_beside_the_reference(project: Project) -> None:
    _, outcome = diagnosing.repeat(project, "D01", "demo1")
    words = "\n".join(diagnosing.described("D01", "demo1", outcome))
    assert "0 of 50 cut-outs" in words
    assert "not available here: not_made_yet" in words
    assert "1 of 1 gates PASS" in words
    assert "The reference's samples: many cut-outs; those here are the n of each figure." in words
    assert "The reference concluded: fine." in words
    first, second = diagnosing.beside("D01", outcome).to_pylist()
    assert first == {"measure": "masked/zero_max", "here": "0 (n 50)", "reference": "0.0052", "note": ""}
    assert (second["here"], second["reference"]) == ("not measured", "0.1 [0.05, 0.15]")


@pytest.mark.usefixtures("whole_stage")
def test_the_command_prints_all_or_gives_the_comparison_alone(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.commands.finders.project", lambda: project)
    said = CliRunner().invoke(dhs, ["diagnose", "D01", "--finder", "demo2"], catch_exceptions=False).output
    assert said.startswith("D01 on demo2: Are stamps whole?")
    assert "where run_id = 'D01-demo2'" in said
    rows = CliRunner().invoke(dhs, ["diagnose", "D01", "--format", "csv"], catch_exceptions=False).output
    assert [line.split(",")[0].strip('"') for line in rows.splitlines()] == [
        "measure",
        "masked/zero_max",
        "masked/other",
    ]
    out = tmp_path / "d01.csv"
    CliRunner().invoke(dhs, ["diagnose", "D01", "--out", str(out)], catch_exceptions=False)
    assert out.read_text() == rows


def test_what_fails_is_named_with_its_rule() -> None:
    gates = (Gate("a", "FAIL", 0.3, 0.2, 0.4, 0.1, "below 0.1"), Gate("b", "PASS", 0.0, 0.0, 0.0, 0.1, "small"))
    outcome = Outcome("x", (Measure("m", 1.0),), gates, findings=(Finding("It is so.", "x"),))
    lines = diagnosing.described("D03", "demo1", outcome)
    assert "FAIL a 0.3: below 0.1" in lines
    assert "x: It is so." in lines


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("D07", "'campaign' must be one of D01, D02, D03, D04, D05, D06, got 'D07'; did you mean 'D06'?"),
        ("poison", "did you mean 'poisson'?"),
        ("annulus", "'annulus' is one diagnostic, which `dhs repro` runs for every finder"),
    ],
)
def test_other_names_are_refused_with_what_is_near(name: str, words: str) -> None:
    with pytest.raises(ParameterError) as refused:
        diagnosing.campaign(name)
    assert words in str(refused.value)


def test_the_finder_is_the_headline_unless_one_is_named(project: Project) -> None:
    assert diagnosing.finder_of(project, None) == "demo1"
    assert diagnosing.finder_of(project, "demo2") == "demo2"
    with pytest.raises(ParameterError, match="'finder' must be one of demo1, demo2, got 'demo3'"):
        diagnosing.finder_of(project, "demo3")


def test_the_list_names_every_diagnostic_and_campaign() -> None:
    shown = CliRunner().invoke(dhs, ["diagnose", "--list"], catch_exceptions=False).output
    for module in discovery.found():
        assert f"  {module.__name__.rpartition('.')[2]} " in shown
    assert shown.count("?\n") == len(discovery.found()) + len(CAMPAIGNS)
    assert CliRunner().invoke(dhs, ["diagnose"]).output == shown


@pytest.mark.parametrize("name", ["D01-demo1", "D01", "D06-20260214"])
def test_names_of_campaigns_are_reserved(name: str) -> None:
    assert re.fullmatch(RESERVED["diagnostic"], name)
