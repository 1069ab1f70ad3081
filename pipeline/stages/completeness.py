"""Completeness of one finder: Spark counts, intervals on the small result."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.config import CompletenessParams
from analysis.results.gridtable import measurable, nothing, table_of
from analysis.results.untouched import negatives_for
from etl.results.completeness import summarise
from lake import tables
from lake.sky.split import THRESHOLD
from lake.sky.survey import SURVEY
from pipeline.project.outputs import grid_facts
from pipeline.project.sparkrun import SparkRun

_BRICK = r":(?:\d+_)?(?P<brick>[^_]+)_\d+$"
"""The brick in a galaxy_id, whose contract is `lake.contract.columns.galaxy_id`."""
_INDICES = ["theta_e_index", "psf_index", "depth_index"]


def run(context: SparkRun, params: CompletenessParams) -> None:
    generation = context.generation
    facts = grid_facts(context.root, generation)
    stored = context.read("thresholds", slices=[facts["generation"]]).to_pandas()
    where = {name: facts[name] for name in tables.spec("completeness").slice_by}
    if not measurable(stored):
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
    rows = table_of(collected, stored, fixing, _scored(context, facts), params.source_mag_edges, SURVEY)
    context.publish(rows, "completeness", generation, where)


def _scored(context: SparkRun, facts: Mapping[str, object]) -> pd.DataFrame:
    """The scored injections with their cells, and the bricks of their hosts as `field`."""
    columns = ["injection_id", "galaxy_id", "src_mag_r", *_INDICES]
    injections = context.read("injections", columns, slices=[context.generation])
    answers = context.read("injection_scores", ["injection_id", "status", "probability"], slices=[context.generation])
    scored = answers.filter(pc.equal(answers["status"], "scored")).drop_columns("status")
    names = pa.Table.from_pylist(facts["cells"]).select(["cell", *_INDICES]).to_pandas()
    bricks = pc.struct_field(pc.extract_regex(injections["galaxy_id"], _BRICK), "brick")
    placed = injections.append_column("field", bricks).join(scored, "injection_id", join_type="inner")
    return placed.to_pandas().merge(names, on=_INDICES)
