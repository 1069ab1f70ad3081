"""Take one finder's grid batches into ``injections`` and ``injection_scores``."""

from __future__ import annotations

from etl.results.batchparts import INJECTIONS, SCORES, GridRun
from etl.results.ingest import ingest
from pipeline.project.outputs import grid_batches, grid_facts
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: None) -> None:
    generation = context.generation
    facts = grid_facts(context.root, generation)
    batches = [context.staged(path) for path in grid_batches(context.root, generation)]
    context.note_input(f"grid:{generation}", facts["grid_id"])
    scored = GridRun(**{name: facts[name] for name in ("grid_id", "grid_name", "checkpoint_id", "generation")})
    made = ingest(context.spark, context.root, batches, scored)
    context.publish(made.injections, INJECTIONS.name, generation, scored.where(INJECTIONS), made.quarantine)
    context.publish(made.injection_scores, SCORES.name, generation, scored.where(SCORES))
