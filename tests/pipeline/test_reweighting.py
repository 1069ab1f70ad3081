"""`dhs completeness`: a filled grid under other priors."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest

from analysis.diagnostics.closure import diagnose
from analysis.diagnostics.discovery import DiagnoseParams
from analysis.records import UNMEASURED
from injection.priors.registry import load_prior
from lake.errors import DataError, LakeError, ParameterError
from lake.store.query import query
from pipeline.experiment import reweighting
from pipeline.experiment.reweighting import DUAL, Asked, Filled, completeness_under, drawn_from
from pipeline.project import params
from pipeline.project.context import RunContext
from pipeline.project.outputs import grid_facts
from pipeline.stages.diagnose import subject
from pipeline.verbs.closing import closure
from tests.pipeline.checkout import Checkout, project_in

pytestmark = pytest.mark.timeout(900)


def test_under_its_own_prior_a_grid_tells_what_its_table_does(finished: Checkout) -> None:
    project = params.load(finished.folder)
    rows = completeness_under(project, Asked()).to_pandas().set_index("threshold_id")
    text = "select * from completeness_main where cell = 'marginal' and source_mag_bin = 'all' and generation = 'demo1'"
    stored = query(project.data, text).to_pandas().set_index("threshold_id")
    assert set(rows.index) == set(stored.index)
    for name, row in stored.iterrows():
        found = rows.loc[name]
        assert (found["n"], found["fpr_reached"]) == (row["n"], row["fpr_reached"])
        assert found["completeness"] == pytest.approx(row["completeness"])
        assert found["n_eff"] == pytest.approx(row["n"])
    assert (rows["support"] == 1).all()
    assert rows["mean_weight"].to_numpy() == pytest.approx(1.0)


def test_the_grid_keeps_the_content_of_its_prior(finished: Checkout) -> None:
    facts = grid_facts(params.load(finished.folder).data, "demo1")
    assert facts["prior_content"] == load_prior(facts["prior"]).model_dump(mode="json")


def test_the_dual_prior_table_of_one_grid(finished: Checkout) -> None:
    project = params.load(finished.folder)
    asked = Asked(DUAL, threshold="p0.3", theta_e="prior", min_support=0.1)
    rows = completeness_under(project, asked).to_pylist()
    assert [row["prior"] for row in rows] == ["v1", "anchored"]
    assert [row["support"] for row in rows] == [pytest.approx(0.8 * 0.197, abs=0.01), 1.0]
    with pytest.raises(ParameterError, match=r"'threshold' must be one of p0.3, .*, got 'p9'"):
        completeness_under(project, Asked(threshold="p9"))
    refused = finished.dhs("completeness", "--dual", check=False)
    assert refused.returncode == 1
    assert "the injections, drawn from 'anchored', cover" in refused.stderr
    assert "of 'v1', less than 95%: fill a grid whose prior covers it (`grid.prior: covering`)" in refused.stderr


def test_closure_is_measured_by_the_stage_and_by_the_command(
    finished: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the few lenses of this survey that the network has not selected on it is refused by both."""
    project = params.load(finished.folder)
    text = "select value, method from diagnostics where run_id = 'diagnose-demo1' and name = 'closure/true/p0.5'"
    (stored,) = query(project.data, text).to_pylist()
    assert stored["value"] is None
    why = stored["method"].removeprefix(UNMEASURED)
    assert re.fullmatch(r"refused: \d+ of \d+ lenses outside the training split were trained or selected on", why)
    with pytest.raises(DataError, match=f"the closure of demo1 is not measured: {why}"):
        closure(project, "demo1")
    monkeypatch.setattr("analysis.results.untouched.FEWEST", 1)
    values = project.section(DiagnoseParams, "diagnose")
    outcome = diagnose(subject(RunContext("diagnose", "demo1", project), values), values)
    staged = {m.name: m.value for m in outcome.measures if m.name.endswith("/p0.5")}
    assert {"closure/true/p0.5", "closure/renderer/p0.5", "closure/hosts/all/p0.5"} <= set(staged)
    rows, _ = closure(project, None)
    again = {row["name"]: row["value"] for row in rows.to_pylist()}
    assert {name: again[name] for name in staged} == pytest.approx(staged)
    page = (project.data.report / "index.html").read_text()
    assert "Bias of each link of the chain" in page


def test_hosts_follow_those_of_lenses_only_where_there_are_enough_of_them(finished: Checkout) -> None:
    project = params.load(finished.folder)
    why = r"'hosts' must be 'drawn', because a host propensity needs 50 lenses with all covariates, and there are \d+"
    with pytest.raises(ParameterError, match=why):
        completeness_under(project, Asked(hosts="lenses"))
    stored = query(project.data, "select distinct weighting_id, prior from completeness").to_pandas()
    assert (stored["weighting_id"] == stored["prior"]).all()
    said = query(project.data, "select method from diagnostics where run_id = 'completeness-demo1'").to_pandas()
    assert said["method"].str.startswith("not measured: a host propensity needs 50 lenses").all()


def test_completeness_along_axes_is_that_of_the_view(finished: Checkout) -> None:
    project = params.load(finished.folder)
    for population in ("all", "detectable"):
        asked = Asked(by=("theta_e", "host_type"), population=population, threshold="p0.3")
        rows = completeness_under(project, asked).to_pandas()
        text = f"""select * from completeness_by_theta_e_host_type where generation = 'demo1' and grid_name = 'main'
            and threshold_id = 'p0.3' and population = '{population}' order by theta_e, host_type"""
        view = query(project.data, text).to_pandas()
        assert (
            rows[["theta_e", "host_type", "n"]].to_numpy().tolist()
            == view[["theta_e", "host_type", "n"]].to_numpy().tolist()
        )
        assert rows["completeness"].to_numpy() == pytest.approx(view["completeness"].to_numpy())
        assert rows["above_20_percent"].to_list() == view["above_20_percent"].to_list()
    assert set(rows["host_type"]) <= {"SER", "DEV", "REX"}


def test_cells_may_count_as_the_galaxies_of_the_survey_do(finished: Checkout) -> None:
    project = params.load(finished.folder)
    filled = Filled.of(project.data, "demo1", "p0.5")
    factor = filled.survey_factor(project.data)
    text = """with pool as (select 22.5 - 2.5 * log10(5 / sqrt(psfdepth_r)) as depth, psfsize_r from tractor_pool)
        select count(*) filter (where depth < 23.5) as low, count(*) as n
        from pool where psfsize_r between 0.8 and 1.9 and depth between 22 and 25"""
    counts = query(project.data, text).to_pylist()[0]
    depth = filled.rows["depth_index"].to_numpy()
    assert factor[depth == 0].sum() / factor.sum() == pytest.approx(counts["low"] / counts["n"])
    rows = completeness_under(project, Asked(weight="survey", threshold="p0.5")).to_pandas()
    hit = filled.judged["probability"] > 0.5
    assert rows["completeness"][0] == pytest.approx((factor * hit).sum() / factor.sum())
    assert rows["cells"].to_list() == ["survey"]


_MODULES = """
import atexit, sys
from pipeline.cli import main
slow = {"pandas", "pyarrow.dataset", "scipy.stats", "sklearn"}
atexit.register(lambda: print(sorted(slow & set(sys.modules)), file=sys.stderr))
main()
"""


@pytest.mark.parametrize("asked", [
    ("completeness",),
    ("completeness", "--by", "theta_e,host_type", "--threshold", "p0.3"),
    ("completeness", "--dual", "--min-support", "0.01", "--theta-e", "prior", "--weight", "survey"),
    ("query", "select * from completeness where cell = 'marginal'"),
    ("query", "select * from completeness_by_theta_e_depth"),
], ids=" ".join)  # fmt: skip
def test_questions_about_a_finished_grid_are_answered_without_slow_imports(
    finished: Checkout, asked: tuple[str, ...]
) -> None:
    done = finished.run(sys.executable, "-c", _MODULES, *asked)
    assert "p0.3" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("facts", "said"), [
    ({"parameters": {"source_model": "mine:Model"}}, "from a user's own source model cannot be reweighted"),
    ({"parameters": {}}, "the grid of x has no record of its prior's content: run `dvc repro grid@x`"),
])  # fmt: skip
def test_a_grid_that_does_not_say_what_it_drew_from_is_refused(facts: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        drawn_from(facts, "x")


def test_scores_are_put_beside_their_injections_whatever_their_order() -> None:
    ids = pa.chunked_array([["i1", "i2"], ["i3"]])
    hosts = pa.chunked_array([["b", "a"], ["b"]])
    rows = pa.table({"injection_id": ids, "galaxy_id": hosts, "detectable": [True, None, False]})
    scores = pa.table({"injection_id": ["i3", "i1"], "status": ["failed", "scored"], "probability": [None, 0.25]})
    judged = reweighting._judged(Mock(scores=lambda: scores), rows)
    assert judged["galaxy_id"].tolist() == [0, 1, 0]
    assert judged["detectable"].tolist() == [True, None, False]
    assert judged["status"].tolist() == ["scored", None, "failed"]
    np.testing.assert_array_equal(judged["probability"], [0.25, np.nan, np.nan])
    twice = pa.concat_tables([scores, scores])
    with pytest.raises(DataError, match="an injection has more than one row"):
        reweighting._judged(Mock(scores=lambda: twice), rows)


def test_nothing_to_count_along_axes_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled = Mock(under=lambda *_: [])
    monkeypatch.setattr(Filled, "of", lambda *_: Mock(binned=lambda *_: filled))
    asked = Asked(generation="demo1", by=("theta_e",), population="detectable", net=True)
    said = "no scored detectable injection whose bare host is below the threshold is left to count"
    with pytest.raises(DataError, match=said):
        completeness_under(project_in(tmp_path), asked)


def test_what_is_asked_must_make_sense(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="'min-support' must be above 0 and at most 1, got 0"):
        Asked(min_support=0.0)
    with pytest.raises(ParameterError, match="'by' must be one to 3 different axes"):
        Asked(by=("theta_e", "colour"))
    with pytest.raises(LakeError, match="the grid of nobody is missing"):
        completeness_under(project_in(tmp_path), Asked(generation="nobody"))
