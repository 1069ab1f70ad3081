"""Completeness of one finder: Spark counts, intervals on the small result."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc

from analysis.completeness import completeness_table, thresholds
from analysis.config import CompletenessParams
from analysis.figures.completeness import heat_map
from analysis.operating import probability_name
from etl.completeness import summarise
from etl.frames import frame
from modeling import tracking
from pipeline.context import RunContext


def run(context: RunContext, params: CompletenessParams) -> None:
    generation = context.generation
    facts = json.loads((context.root.grid(generation) / "grid.json").read_text())
    scores = context.read("scores", ["split", "label", "probability"], slices=[facts["generation"]])
    hosts = pc.and_(pc.equal(scores["split"], "val"), pc.equal(scores["label"], 0))
    points = thresholds(scores.filter(hosts)["probability"].to_numpy(), params)
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
    rows = completeness_table(collected)
    where = {"grid_id": facts["grid_id"], "checkpoint_id": facts["checkpoint_id"]}
    title = f"{generation}: completeness at p > {params.probability_thresholds[0]:g}, prior {facts['prior']}"
    picture = heat_map(rows.to_pandas(), probability_name(params.probability_thresholds[0]), title)
    tracking.log_figure(context.root, facts["generation"], f"completeness-{facts['grid_id']}.svg", picture.content)
    context.publish(frame(context.spark, rows, "completeness"), "completeness", generation, where)
