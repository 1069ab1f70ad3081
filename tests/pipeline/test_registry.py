"""The registry: what it lists, how a run stops to count and counts again, and where its results are then missing."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

import lake
from analysis.records import Measure, Outcome
from lake import names, yamltext
from lake.errors import LakeError, ParameterError
from lake.store import cards, delta, status
from lake.store.query import query
from modeling.config import generations
from modeling.tracking import history
from pipeline.cli import dhs
from pipeline.experiment.reweighting import counting
from pipeline.project.context import RunContext, stage_run
from pipeline.project.project import Project
from pipeline.tables import registry
from tests.pipeline import smallruns
from tests.pipeline.smallruns import COUNTS, generations_in, statuses


@pytest.fixture
def project(small_runs: Path, tmp_path: Path) -> Project:
    return smallruns.copied(small_runs, tmp_path)


def record(*dates: str) -> str:
    """The text of a record of grid-demo1 with decisions of these dates."""
    made = [{"action": "invalidated", "reason": "x", "date": date, "commit": "c", "results": {}} for date in dates]
    return json.dumps({"run": "grid-demo1", "decisions": made})


def test_it_lists_every_run_with_its_finding(project: Project) -> None:
    found = {run.run: run for run in registry.registry(project)}
    assert found["evaluate-demo1"].facts.finding == "AUC 0.9800 [0.9700, 0.9900] on 743 objects"
    assert found["grid-demo1"].facts.finding == "completeness at p0.5 20.0 % of 100 injections, prior anchored"
    assert found["diagnose-demo2"].facts.finding == "gates: 1 PASS"
    assert found["train-demo1"].facts.checkpoint == "c-demo1"
    assert {run.status for run in found.values() if run.source == "trained"} == {"valid"}
    for name in ("gen5a", "gen5b", "gen5c", "resnet-gen2"):
        assert found[name].status == "planned"
    assert found["D03"].status == "invalidated"
    assert "0.991" in found["gen3"].facts.disagreements[0]


def test_a_training_without_an_evaluation_is_trained_and_what_params_name_is_planned(tmp_path: Path) -> None:
    project = smallruns.project_in(tmp_path)
    planned = ("train-demo1", "evaluate-demo1", "grid-demo1", "trials-demo1", "diagnose-demo1")
    assert statuses(project) == dict.fromkeys(planned, "planned")
    smallruns.train(project, "demo1", None, "c")
    assert statuses(project)["train-demo1"] == "trained"
    assert statuses(project)["evaluate-demo1"] == "planned"


def test_only_rows_of_the_run_in_question_are_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tables, real = [], delta.read
    monkeypatch.setattr(delta, "read", lambda root, name, *a, **k: tables.append(name) or real(root, name, *a, **k))
    registry.change(project, "grid-demo1", "invalidated", "the wrong PSF")
    assert tables == ["experiments"], "which of its rows were replaced"
    tables.clear()
    assert "completeness at p0.5 20.0 % of 100" in registry.described(project, "grid-demo1")
    assert sorted(set(tables) & {"gates", "diagnostics", "completeness", "trials"}) == ["completeness"]
    assert tables.count("experiments") == 1


@pytest.mark.usefixtures("whole_stage")
def test_a_replaced_checkpoint_is_superseded_and_stays_listed(project: Project) -> None:
    smallruns.diagnose(project, "demo1", "another")
    (old,) = [run for run in registry.own_runs(project) if run.status == "superseded"]
    assert (old.run, old.facts.checkpoint) == ("train-demo1@c-demo1", "c-demo1")
    assert old.reason == "its checkpoint was replaced by another"
    assert statuses(project)["train-demo1"] == "valid"
    with pytest.raises(ParameterError, match="has no results that count: it is superseded"):
        registry.change(project, old.run, "invalidated", "x")


@pytest.mark.usefixtures("whole_stage")
def test_invalid_results_leave_tables_views_and_comparisons_and_come_back(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    before = query(project.data, COUNTS)
    said = registry.change(project, "grid-demo1", "invalidated", "it's the wrong PSF")
    with caplog.at_level(logging.WARNING):
        assert generations_in(project, COUNTS) == ["demo2"]
    assert "left out: completeness.demo1, because grid-demo1 is invalidated: it's the wrong PSF" in caplog.text
    assert generations_in(project, "from completeness_main") == ["demo2"]
    assert generations_in(project, COUNTS, invalid_too=True) == ["demo1", "demo2"]
    assert sorted(generations_in(project, "from completeness_main", invalid_too=True)) == ["demo1", "demo2"]
    assert lake.read("injection_scores", root=project.data)["generation"].to_pylist() == ["demo2"]
    assert lake.read("injection_scores", slices=["demo1"], root=project.data).num_rows == 1
    assert statuses(project)["grid-demo1"] == "invalidated"
    assert statuses(project)["evaluate-demo1"] == "valid"
    assert any("registry/status/grid-demo1.json" in line for line in said)
    with pytest.raises(LakeError, match="completeness of demo1 does not count: grid-demo1 is invalidated: it's the"):
        counting(project, "demo1")
    assert counting(project, "demo2") == "demo2"
    registry.change(project, "grid-demo1", "restored", "it was the right one")
    assert query(project.data, COUNTS).equals(before)


@pytest.mark.usefixtures("whole_stage")
def test_what_was_made_from_an_invalid_run_is_invalid_until_restored_itself(project: Project) -> None:
    registry.change(project, "demo1", "invalidated", "trained on test galaxies")
    assert set(statuses(project).values()) == {"invalidated"}
    assert generations_in(project, COUNTS) == []
    rows = query(project.data, "select origin, status, status_reason from experiments").to_pylist()
    assert [row["status"] for row in rows] == ["invalidated"] * 2
    assert rows[1]["status_reason"] == "train-demo1 is invalidated: trained on test galaxies"
    registry.change(project, "train-demo2", "restored", "it is trained from random weights")
    assert generations_in(project, COUNTS) == ["demo2"]
    assert [run for run, one in statuses(project).items() if one == "valid"] == [
        f"{kind}-demo2" for kind in ("train", "evaluate", "diagnose", "grid", "trials")
    ]


@pytest.mark.usefixtures("whole_stage")
def test_invalid_trials_leave_the_table_and_what_was_diagnosed_on_them(project: Project) -> None:
    assert statuses(project)["trials-demo1"] == "valid"
    registry.change(project, "trials-demo1", "invalidated", "the wrong gain")
    assert generations_in(project, "select generation from trials") == ["demo2"]
    off = {run for run, one in statuses(project).items() if one == "invalidated"}
    assert off == {"trials-demo1", "diagnose-demo1"}
    registry.change(project, "trials-demo1", "restored", "it was the right one")
    registry.change(project, "grid-demo1", "invalidated", "the wrong PSF")
    assert statuses(project)["trials-demo1"] == "invalidated"


@pytest.mark.usefixtures("whole_stage")
def test_an_invalidation_outlives_a_rerun_and_says_that_the_results_are_new(project: Project) -> None:
    registry.change(project, "evaluate-demo1", "invalidated", "wrong split")
    assert "made anew" not in registry.described(project, "evaluate-demo1")
    smallruns.AUC["demo1"] = 0.9
    try:
        smallruns.evaluate(project, "demo1")
    finally:
        smallruns.AUC["demo1"] = 0.98
    assert statuses(project)["evaluate-demo1"] == "invalidated"
    assert "its results have been made anew since: `dhs registry restore evaluate-demo1" in registry.described(
        project, "evaluate-demo1"
    )


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("gen4", "x", r"'gen4' is a record of the reference system: its status \(valid\) is part of that record"),
        ("D03", "x", r"its status \(invalidated\) is part of that record"),
        ("grid-dem1", "x", "'run' must be one that `dhs registry` lists, got 'grid-dem1'; did you mean 'grid-demo1'?"),
        ("../x", "x", "'run' must be one that"),
        ("grid-demo1", " \n", "'reason' must be a sentence of at most 500 characters, got ''"),
        ("grid-demo1", "x" * 501, "'reason' must be a sentence of at most 500 characters"),
    ],
)
def test_what_cannot_be_invalidated_is_one_sentence(project: Project, name: str, reason: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said) as caught:
        registry.change(project, name, "invalidated", reason)
    assert "\n" not in str(caught.value)
    assert not list(project.data.registry.rglob("*.json"))


def test_an_invalid_run_whose_results_were_removed_stays_listed(project: Project) -> None:
    registry.change(project, "diagnose-demo1", "invalidated", "wrong sample")
    for table in status.JUDGED:
        cards.remove(project.data, table, "diagnose-demo1")
    (gone,) = [run for run in registry.registry(project) if run.run == "diagnose-demo1"]
    assert (gone.status, gone.reason) == ("invalidated", "wrong sample (its results were removed)")


def test_no_decision_is_made_twice(project: Project) -> None:
    with pytest.raises(ParameterError, match="'grid-demo1' is valid already"):
        registry.change(project, "grid-demo1", "restored", "x")
    registry.change(project, "grid-demo1", "invalidated", "x")
    with pytest.raises(ParameterError, match=r"'grid-demo1' is invalidated already \(x\)"):
        registry.change(project, "grid-demo1", "invalidated", "y")


def test_a_record_is_text_that_lists_all_decisions(project: Project) -> None:
    for action in ("invalidated", "restored", "invalidated"):
        registry.change(project, "grid-demo1", action, f"é {action}")  # type: ignore[arg-type]
    text = (project.data.registry / "status" / "grid-demo1.json").read_text()
    held = json.loads(text)
    assert [one["reason"] for one in held["decisions"]] == ["é invalidated", "é restored", "é invalidated"]
    assert "é" in text
    assert set(held["decisions"][0]["results"]) == {"completeness.demo1", "injection_scores.demo1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not the record of a run: restore it"),
        ('{"run": "grid-demo2", "decisions": []}', "is not the record of 'grid-demo1'"),
        ("<<<<<<< ours\n{}", "contains git merge markers"),
        (record("2026-02-02T00:00:00+00:00", "2026-02-01T00:00:00+00:00"), "in the order of their dates: sort them"),
        (record("yesterday"), "is not the record of a run: restore it"),
    ],
)
def test_a_damaged_record_stops_every_reading(project: Project, text: str, said: str) -> None:
    registry.change(project, "grid-demo1", "invalidated", "x")
    (project.data.registry / "status" / "grid-demo1.json").write_text(text)
    with pytest.raises(LakeError, match=said):
        query(project.data, COUNTS)


def test_a_revision_is_read_with_what_is_known_today(project: Project) -> None:
    folder = project.folder

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@x.org", *words], check=True)

    git("init", "-q")
    git("add", "data/cards")
    git("commit", "-qm", "results")
    registry.change(project, "grid-demo1", "invalidated", "x")
    assert generations_in(project, COUNTS, at="HEAD") == ["demo2"]
    assert generations_in(project, COUNTS, at="HEAD", invalid_too=True) == ["demo1", "demo2"]


def test_measures_taken_with_the_counts_of_a_grid_are_of_its_run(project: Project) -> None:
    with stage_run("completeness", "demo1", project, RunContext) as context:
        context.write_outcome(Outcome("lens_hosts", (Measure("lens_hosts/support", 0.9),)), "completeness-demo1")
    assert "diagnostics.completeness-demo1" in status.runs(project.data)["grid-demo1"]
    assert "completeness-demo1" not in statuses(project)


@pytest.mark.usefixtures("whole_stage")
def test_commands(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:

    (project.folder / "params.yaml").write_text(yamltext.text(dict(project.values)))
    monkeypatch.chdir(project.folder)

    def said(*words: str) -> str:
        done = CliRunner().invoke(dhs, ["registry", *words])
        assert done.exit_code == 0, done.exception
        return done.output

    rows = json.loads(said("--finder", "demo1", "--format", "json"))
    assert [row["run"] for row in rows] == [
        f"{kind}-demo1" for kind in ("train", "evaluate", "diagnose", "grid", "trials")
    ]
    said("invalidate", "grid-demo1", "--reason", "hosts of another survey")
    assert "hosts of another survey" in said("--status", "invalidated", "--kind", "grid")
    assert "invalidated" in said("show", "grid-demo1")
    assert "about 0.991" in said("show", "gen3")
    assert "grid-demo1 is restored" in said("restore", "grid-demo1", "--reason", "not so")


def test_names_of_generations_and_records_are_the_identifiers_of_their_kind() -> None:
    import re

    assert all(re.fullmatch(names.GENERATION, name) for name in generations())
    older = {"resnet18", "resnet18_baseline_v1", "sim-anchor"}
    for row in history.records():
        kinds = [names.RESERVED[row["kind"]], names.RESERVED["evaluation"]]  # grids are evaluations with a host model
        assert row["run_id"] in older or any(re.fullmatch(form, row["run_id"]) for form in kinds), row["run_id"]


@pytest.mark.parametrize(
    "name", ["gen7", "gen5a-audit", "gen5a-fast", "resnet-gen3", "R2", "D01", "E04-eval", "IM1", "grid-mine"]
)
def test_a_users_finder_bears_no_identifier_of_the_registry(name: str) -> None:
    with pytest.raises(ParameterError, match="'name' must be a name"):
        names.free_name(name, "name")
    assert names.free_name("mine", "name") == "mine"
