"""Take one finder's grid batches into ``injections`` and ``injection_scores``."""

from __future__ import annotations

from etl.results.ingest import GridRun, ingest
from lake import tables
from pipeline.project.outputs import grid_batches, grid_facts
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: None) -> None:
    generation = context.generation
    facts = grid_facts(context.root, generation)
    batches = [context.staged(path) for path in grid_batches(context.root, generation)]
    context.note_input(f"grid:{generation}", facts["grid_id"])
    scored = GridRun(**{name: facts[name] for name in ("grid_id", "grid_name", "checkpoint_id", "generation")})
    frames = ingest(context.spark, batches, scored)
    of_grid = {"grid_id": scored.grid_id}
    context.publish(frames.injections, "injections", generation, of_grid, frames.quarantine, frames.rows)
    where = {name: facts[name] for name in tables.spec("injection_scores").slice_by}
    context.publish(frames.injection_scores, "injection_scores", generation, where, judged=frames.rows)
