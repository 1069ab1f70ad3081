"""Expectations: registered before a result, refused afterwards, judged by intervals, shown beside the result."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from analysis.reporting.compare import paired_auc_tests
from analysis.results.expectations import Figure, historical, judge
from lake import yamltext
from lake.errors import LakeError, ParameterError
from lake.store import cards, expected
from lake.store.expected import Expectation
from lake.store.status import JUDGED
from pipeline.cli import dhs
from pipeline.project.project import Project
from pipeline.reporting import expectations
from pipeline.tables import registry
from pipeline.tables.preregister import register
from tests.pipeline import smallruns

ABOVE = Expectation("evaluate-demo3", "auc", "above", 0.95, test="t", note="a larger network")


@pytest.fixture
def project(small_runs: Path, tmp_path: Path) -> Project:
    return smallruns.copied(small_runs, tmp_path)


@pytest.fixture
def demo3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(smallruns.AUC, "demo3", 0.99)


@pytest.mark.usefixtures("whole_stage")
def test_it_is_stored_before_and_shown_beside_the_result(project: Project, demo3: None) -> None:
    before = expected.pins_hash(project.data)
    register(project.data, ABOVE)
    (held,) = expected.records(project.data)
    assert replace(held, date="", commit="", pins="") == ABOVE
    assert held.pins == before
    assert "evaluate-demo3" in registry.described(project, "evaluate-demo3")
    (first, *_) = expectations.rows(project.data).to_dict("records")
    assert (first["outcome"], first["result"]) == ("no result yet", "evaluate-demo3 has not run")
    smallruns.evaluate(project, "demo3")
    (first, *_) = expectations.rows(project.data).to_dict("records")
    assert (first["outcome"], first["result"]) == ("as expected", "0.9900 [0.9800, 1.0000]")
    assert "auc above 0.95" in registry.described(project, "evaluate-demo3")
    assert expected.pins_hash(project.data) != before


def test_a_measure_that_nothing_has_measured_is_stored_and_questioned(project: Project, demo3: None) -> None:
    assert len(register(project.data, ABOVE)) == 2
    *_, questioned = register(project.data, replace(ABOVE, measure="auk"))
    assert questioned == "no run has measured 'auk' yet: check its name; did you mean 'auc'?"
    assert {one.measure for one in expected.records(project.data)} == {"auc", "auk"}


def test_a_finder_without_runs_is_named(project: Project) -> None:
    with pytest.raises(ParameterError, match=r"'finder' must be one of demo1, .*, got 'demo11'; did you mean 'demo1'"):
        registry.listing(project, {"finder": "demo11"})
    assert set(registry.listing(project, {"finder": "demo1"})["finder"].to_pylist()) == {"demo1"}


def test_it_is_refused_once_there_is_a_result_also_one_that_is_no_longer_pinned(project: Project) -> None:
    late = replace(ABOVE, run="evaluate-demo2")
    with pytest.raises(ParameterError, match=r"has results already \(table diagnostics.evaluate-demo2"):
        register(project.data, late)
    for table in JUDGED:
        cards.remove(project.data, table, "evaluate-demo2")
    with pytest.raises(ParameterError, match=r"has results already \(rows of table diagnostics\)"):
        register(project.data, late)
    of_grid = Expectation("grid-demo4", "completeness/p0.5", "above", 0.1)
    (project.data.grid("demo4")).mkdir(parents=True)
    (project.data.grid("demo4") / "batch-00000.parquet").touch()
    with pytest.raises(ParameterError, match=r"has results already .*demo4"):
        register(project.data, of_grid)
    assert not expected.records(project.data)


@pytest.mark.parametrize("measure", ["", " auc", "au\nc", "/", "completeness/", "a" * 101, "a'b", "é"])
def test_a_measure_is_a_name(project: Project, measure: str) -> None:
    run = "grid-demo9" if measure.startswith("completeness") else "evaluate-demo9"
    with pytest.raises(ParameterError, match="'measure' must be a name in the table diagnostics, or") as caught:
        register(project.data, replace(ABOVE, run=run, measure=measure))
    assert "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match="'note' must be at most 500 characters, got '501 characters'"):
        register(project.data, replace(ABOVE, note="x" * 501))
    assert not expected.records(project.data)


def test_of_expectations_registered_at_once_one_is_kept(project: Project) -> None:
    refused: list[str] = []

    def put(threshold: float) -> None:
        try:
            register(project.data, replace(ABOVE, threshold=threshold))
        except ParameterError as error:
            refused.append(str(error))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, (0.6, 0.7, 0.8, 0.9)))
    (kept,) = expected.records(project.data)
    assert len(refused) == 3
    assert all(f"above {kept.threshold:g} was registered" in said for said in refused)


def test_an_expectation_stays(project: Project) -> None:
    register(project.data, ABOVE)
    with pytest.raises(ParameterError, match=r"auc above 0.95 was registered on .* and cannot be changed"):
        register(project.data, replace(ABOVE, threshold=0.9))
    register(project.data, replace(ABOVE, measure="recall/tier_A/p0.3"))
    assert len(expected.records(project.data)) == 2


def test_a_record_with_a_date_after_the_result_does_not_count(project: Project) -> None:
    expected.write(project.data, replace(ABOVE, run="evaluate-demo1", date="2999-01-01T00:00:00+00:00"))
    (first, *_) = expectations.rows(project.data).to_dict("records")
    assert first["outcome"] == "registered after the result: does not count (as expected)"


@pytest.mark.usefixtures("whole_stage")
def test_differences_and_invalid_results(project: Project, demo3: None) -> None:
    register(project.data, replace(ABOVE, against="evaluate-demo1", threshold=0.0))
    smallruns.evaluate(project, "demo3")
    (first, *_) = expectations.rows(project.data).to_dict("records")
    assert first["expectation"] == "auc minus that of evaluate-demo1 above 0"
    assert first["result"] == "0.0100 [-0.0041, 0.0241]"  # 0.01 +- sqrt(2) * 0.01
    assert first["outcome"] == "undecided"
    registry.change(project, "evaluate-demo1", "invalidated", "wrong split")
    (first, *_) = expectations.rows(project.data).to_dict("records")
    assert (first["outcome"], first["result"]) == (
        "no result yet",
        "evaluate-demo1 is invalidated: wrong split",
    )


def test_a_paired_difference_is_of_galaxies_that_neither_finder_has_seen(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, n = np.random.default_rng(1), 200
    label = np.arange(n) % 2
    known = pd.DataFrame({"galaxy_id": [f"g{k}" for k in range(n)], "label": label, "split": "test"})
    seen = np.arange(n) < 100
    scores = {
        "demo1": known.assign(score=label + rng.normal(0.0, 1.0, n), seen_in_training=False),
        "demo2": known.assign(score=label + rng.normal(0.0, 1.0, n) + 9.0 * label * seen, seen_in_training=seen),
    }
    figures = expectations.Figures(project.data)
    figures._made |= {"scores.demo1", "scores.demo2"}
    monkeypatch.setattr(expectations.delta, "read", lambda *_, slices: Mock(to_pandas=lambda: scores[slices[0]]))
    found = figures._paired(replace(ABOVE, run="evaluate-demo2", against="evaluate-demo1"), Figure(0.9))
    (test,) = paired_auc_tests({name: rows[~seen] for name, rows in scores.items()}).to_dict("records")
    assert found is not None
    assert (found.value, found.low) == (test["difference"], test["low"])


@pytest.mark.parametrize(
    ("expect", "ends", "figure", "outcome"),
    [
        ("above", (0.9, None), (0.95, 0.92, 0.97), "as expected"),
        ("above", (0.9, None), (0.95, 0.89, 0.97), "undecided"),
        ("above", (0.9, None), (0.8, 0.7, 0.89), "not as expected"),
        ("below", (0.9, None), (0.8, 0.7, 0.89), "as expected"),
        ("below", (0.9, None), (0.95, 0.92, 0.97), "not as expected"),
        ("between", (0.1, 0.3), (0.2, 0.15, 0.25), "as expected"),
        ("between", (0.1, 0.3), (0.2, 0.05, 0.25), "undecided"),
        ("between", (0.1, 0.3), (0.5, 0.4, 0.6), "not as expected"),
        ("between", (0.1, 0.3), (0.0, -0.1, 0.05), "not as expected"),
        ("above", (0.9, None), (0.95, math.nan, math.nan), "undecided"),
    ],
)
def test_the_whole_interval_decides(expect: str, ends: tuple, figure: tuple, outcome: str) -> None:
    wanted = replace(ABOVE, expect=expect, threshold=ends[0], upper=ends[1])
    assert judge(wanted, Figure(*figure)) == outcome
    assert judge(wanted, None) == "no result yet"


def test_the_references_expectations_are_shown_without_results(project: Project) -> None:
    rows = expectations.rows(project.data)
    assert len(rows) == len(historical()) == 6
    assert set(rows["outcome"]) == {"no result yet"}
    gen5a = rows[rows["run"] == "evaluate-gen5a"].iloc[0]
    assert gen5a["expectation"] == "auc minus that of evaluate-gen4 between 0.001 and 0.003"
    assert "auc minus that of evaluate-gen4" in registry.described(project, "gen5a")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"run": "demo3"}, "'run' must be evaluate-FINDER or diagnose-FINDER for 'auc'"),
        ({"run": "evaluate-"}, "'run' must be evaluate-FINDER"),
        ({"run": "../x"}, "'run' must be up to 64"),
        ({"measure": "completeness/p0.5"}, "'run' must be grid-FINDER for 'completeness/p0.5'"),
        ({"measure": " "}, "'measure' must be a name"),
        ({"threshold": math.nan}, "'threshold' must be a finite number"),
        ({"expect": "between"}, "'upper' must be given exactly with 'between'"),
        ({"upper": 1.0}, "'upper' must be given exactly with 'between'"),
        ({"expect": "between", "upper": 0.5}, "'upper' must be above the threshold, 0.95"),
        ({"against": "evaluate-demo3"}, "'against' must be another run"),
        ({"against": "grid-demo1"}, "'against' must be evaluate-FINDER"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(project: Project, change: dict, said: str) -> None:
    with pytest.raises(ParameterError, match=said) as caught:
        register(project.data, replace(ABOVE, **change))
    assert "\n" not in str(caught.value)


def test_a_damaged_record_is_one_sentence(project: Project) -> None:
    register(project.data, ABOVE)
    (file,) = (project.data.registry / "expected").glob("*.json")
    file.write_text(json.dumps({"run": "x"}))
    with pytest.raises(LakeError, match="is not a registered expectation: restore it"):
        expectations.rows(project.data)


def test_the_command(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.folder / "params.yaml").write_text(yamltext.text(dict(project.values)))
    monkeypatch.chdir(project.folder)
    words = ["preregister", "grid-demo3", "--measure", "completeness/p0.5", "--expect", "between"]
    done = CliRunner().invoke(dhs, [*words, "--threshold", "0.1", "--upper", "0.3"])
    assert done.exit_code == 0, done.exception
    assert "commit it before the run" in done.output
    (held,) = expected.records(project.data)
    assert (held.expect, held.threshold, held.upper) == ("between", 0.1, 0.3)
