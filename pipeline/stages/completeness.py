"""Completeness of one finder: Spark counts, intervals on the small result."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from analysis.completeness import completeness_table, thresholds
from analysis.config import CompletenessParams
from etl.completeness import summarise
from etl.frames import frame
from lake import tables
from pipeline.gridfacts import grid_facts
from pipeline.sparkrun import SparkRun


def run(context: SparkRun, params: CompletenessParams) -> None:
    generation = context.generation
    facts = grid_facts(context.root, generation)
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
    where = {name: facts[name] for name in tables.spec("completeness").slice_by}
    context.publish(frame(context.spark, rows, "completeness"), "completeness", generation, where)
