"""Completeness of one finder: Spark counts, intervals on the small result."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.config import CompletenessParams
from analysis.fitted.propensity import LEAST_SUPPORT
from analysis.records import Outcome
from analysis.results.gridtable import drawn, measurable, nothing, table_of
from analysis.results.lenshosts import not_weighted, weighted_rows
from analysis.results.untouched import negatives_for
from analysis.statistics.thresholds import from_rows
from etl.results.completeness import summarise
from lake import tables
from lake.errors import DataError
from lake.sky.split import THRESHOLD
from lake.sky.survey import SURVEY
from lake.store.views import MAIN
from pipeline.experiment.lenshosts import lens_hosts
from pipeline.project.outputs import grid_facts
from pipeline.project.sparkrun import SparkRun

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

_INDICES = ["theta_e_index", "psf_index", "depth_index"]


def run(context: SparkRun, params: CompletenessParams) -> None:
    generation = context.generation
    facts = grid_facts(context.root, generation)
    stored = context.read("thresholds", slices=[facts["generation"]]).to_pandas()
    where = {name: facts[name] for name in tables.spec("completeness").slice_by}
    if not measurable(stored):
        if facts["grid_name"] == MAIN:
            why = "; ".join(dict.fromkeys(point.reason for point in from_rows(stored) if point.reason))
            _write(context, not_weighted(f"no threshold is measurable: {why}"))
        context.publish(nothing(), "completeness", generation, where)
        return
    counts = summarise(
        context.spark,
        context.read_spark("injections", [generation]),
        context.read_spark("injection_scores", [generation]),
        pa.Table.from_pylist(facts["cells"]),
        measurable(stored),
        params.source_mag_edges,
        facts["prior"],
    )
    collected = counts.toPandas()
    collected.attrs.clear()  # Spark Connect leaves its plan's metrics there, which Arrow cannot store
    scores = context.read("scores", ["negative_use", "probability", "trained_on"], slices=[facts["generation"]])
    fixing = negatives_for(scores.to_pandas(), THRESHOLD)["probability"].to_numpy()
    scored = _scored(context, facts)
    rows = table_of(collected, stored, fixing, scored, params.source_mag_edges, SURVEY)
    if facts["grid_name"] == MAIN:
        weighted = _with_lens_hosts(context, params, rows, scored, (stored, fixing))
        rows = pa.concat_tables([rows, *weighted])
    context.publish(rows, "completeness", generation, where)


def _with_lens_hosts(
    context: SparkRun, params: CompletenessParams, rows: pa.Table, scored: pd.DataFrame, of: tuple[pd.DataFrame, Floats]
) -> list[pa.Table]:
    """Rows with hosts that follow the lenses' hosts, none where that is not possible; `of` as `table_of` takes them.

    What they rest on, or why there are none, goes to `diagnostics`.
    """
    points, derived = drawn(*of)
    try:
        found = lens_hosts(context.read, context.survey, scored["galaxy_id"].to_list(), params.host_covariates)
        outcome = found.outcome()
        found.require(LEAST_SUPPORT)
    except DataError as error:
        log.warning("%s: hosts are not weighted to follow the lenses' hosts: %s", context.generation, error)
        outcome, made = not_weighted(str(error)), []
    else:
        weights, along = found.of(scored["galaxy_id"]), found.directions_of(scored["galaxy_id"])
        weighted = scored.assign(weight=weights)
        made = [weighted_rows(rows, weighted, points, derived, params.source_mag_edges, SURVEY, along)]
    _write(context, outcome)
    return made


def _write(context: SparkRun, outcome: Outcome) -> None:
    run_id = f"completeness-{context.generation}"
    context.write("diagnostics", outcome.diagnostics_rows(run_id), run_id, {"run_id": run_id})


def _scored(context: SparkRun, facts: Mapping[str, object]) -> pd.DataFrame:
    """The scored injections with their cells, and the bricks of their hosts as `field`."""
    columns = ["injection_id", "galaxy_id", "host_brickname", "src_mag_r", *_INDICES]
    injections = context.read("injections", columns, [context.generation], ordered=False)
    outcome = ["injection_id", "status", "probability"]
    answers = context.read("injection_scores", outcome, [context.generation], ordered=False)
    scored = answers.filter(pc.equal(answers["status"], "scored")).drop_columns("status")
    names = pa.Table.from_pylist(facts["cells"]).select(["cell", *_INDICES]).to_pandas()
    joined = injections.join(scored, "injection_id", join_type="inner").sort_by("injection_id")
    placed = joined.to_pandas().merge(names, on=_INDICES)
    return placed.rename(columns={"host_brickname": "field"})
