"""Take one finder's grid batches into ``injections`` and ``injection_scores``."""

from __future__ import annotations

import json

from etl.scores import ingest
from pipeline.sparkrun import SparkRun


def run(context: SparkRun, params: None) -> None:
    generation = context.generation
    folder = context.root.grid(generation)
    facts = json.loads((folder / "grid.json").read_text())
    batches = [str(path.resolve()) for path in sorted(folder.glob("batch-*.parquet"))]
    context.note_input(f"grid:{generation}", facts["grid_id"])
    grid, checkpoint = {"grid_id": facts["grid_id"]}, {"checkpoint_id": facts["checkpoint_id"]}
    frames = ingest(context.spark, batches, facts["grid_id"], facts["checkpoint_id"])
    context.publish(frames.injections, "injections", generation, grid, frames.quarantine)
    context.publish(frames.injection_scores, "injection_scores", generation, grid | checkpoint)
