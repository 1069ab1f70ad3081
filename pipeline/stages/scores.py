"""Take one finder's grid batches into ``injections`` and ``injection_scores``."""

from __future__ import annotations

import json

from etl.scores import GridRun, ingest
from lake import tables
from pipeline.sparkrun import SparkRun


def run(context: SparkRun, params: None) -> None:
    generation = context.generation
    folder = context.root.grid(generation)
    facts = json.loads((folder / "grid.json").read_text())
    batches = [str(path.resolve()) for path in sorted(folder.glob("batch-*.parquet"))]
    context.note_input(f"grid:{generation}", facts["grid_id"])
    scored = GridRun(**{name: facts[name] for name in ("grid_id", "grid_name", "checkpoint_id", "generation")})
    frames = ingest(context.spark, batches, scored)
    context.publish(frames.injections, "injections", generation, {"grid_id": scored.grid_id}, frames.quarantine)
    where = {name: facts[name] for name in tables.spec("injection_scores").slice_by}
    context.publish(frames.injection_scores, "injection_scores", generation, where)
