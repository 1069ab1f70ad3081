"""Completeness of one finder: Spark counts, intervals on the small result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.config import CompletenessParams
from analysis.statistics.completeness import completeness_table
from analysis.statistics.thresholds import Threshold, bootstrap_thresholds, from_rows
from analysis.statistics.uncertain import joint_intervals
from etl.results.completeness import summarise
from lake import tables
from lake.sky.split import THRESHOLD
from lake.sky.survey import SURVEY
from pipeline.project.outputs import grid_facts
from pipeline.project.sparkrun import SparkRun

_INDICES = ["theta_e_index", "psf_index", "depth_index"]
_FPR = ["fpr_reached", "fpr_low", "fpr_high"]


def run(context: SparkRun, params: CompletenessParams) -> None:
    generation = context.generation
    facts = grid_facts(context.root, generation)
    stored = context.read("thresholds", slices=[facts["generation"]]).to_pandas()
    points = [point for point in from_rows(stored) if point.measurable]
    counts = summarise(
        context.spark,
        context.read_spark("injections", [generation]),
        context.read_spark("injection_scores", [generation]),
        pa.Table.from_pylist(facts["cells"]),
        {point.threshold_id: point.threshold for point in points},
        params.source_mag_edges,
        facts["prior"],
    )
    collected = counts.toPandas()
    collected.attrs.clear()  # Spark Connect leaves its plan's metrics there, which Arrow cannot store
    joint = _joint(context, facts, points, params.source_mag_edges)
    collected = collected.merge(joint, on=["cell", "source_mag_bin", "threshold_id"], how="left")
    rows = completeness_table(collected.merge(stored[["threshold_id", *_FPR]], on="threshold_id", how="left"))
    where = {name: facts[name] for name in tables.spec("completeness").slice_by}
    context.publish(rows, "completeness", generation, where)


def _joint(
    context: SparkRun, facts: Mapping[str, object], points: Sequence[Threshold], edges: Sequence[float]
) -> pd.DataFrame:
    """Intervals with the uncertainty of the derived thresholds, one per row that contains an injection."""
    scores = context.read("scores", ["negative_use", "probability"], slices=[str(facts["generation"])])
    fixing = scores.filter(pc.equal(scores["negative_use"], THRESHOLD))["probability"].to_numpy()
    derived = {p.threshold_id: bootstrap_thresholds(fixing, p.target_fpr) for p in points if p.status == "measured"}
    columns = ["injection_id", "galaxy_id", "src_mag_r", *_INDICES]
    injections = context.read("injections", columns, slices=[context.generation])
    answers = context.read("injection_scores", ["injection_id", "status", "probability"], slices=[context.generation])
    scored = answers.filter(pc.equal(answers["status"], "scored")).drop_columns("status")
    names = pa.Table.from_pylist(facts["cells"]).select(["cell", *_INDICES]).to_pandas()
    rows = injections.join(scored, "injection_id", join_type="inner").to_pandas().merge(names, on=_INDICES)
    return joint_intervals(rows, derived, edges, SURVEY).drop(columns="n")
