"""Stratified negatives, random (N1) and confusers (N2), sampled from the pool by keyed hash."""

from __future__ import annotations

from etl.catalogues.negatives import sample
from etl.config import NegativesParams
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: NegativesParams) -> None:
    near, candidates = context.read("tractor_near_candidates"), context.read("lens_candidates")
    negatives, counts = sample(context.scan("tractor_pool"), near, candidates, params, context.seed)
    context.publish(negatives, "negatives")
    context.publish(counts, "ingest_counts", "negatives", {"stage": "negatives"})
