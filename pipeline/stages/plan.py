"""One plan of simulated training stamps: hosts from the pool, configurations from a grid, lenses and controls."""

from __future__ import annotations

import logging

from etl.simulated import plan
from etl.stampconfig import PlanParams
from lake.errors import DataError
from pipeline.project.sparkrun import SparkRun

log = logging.getLogger(__name__)


def run(context: SparkRun, params: PlanParams) -> None:
    name = context.generation
    made = plan.planned(context.spark, context.read_spark("tractor_pool"), params, name, context.seed)
    context.publish(made.rows, "injection_manifest", name, {"plan": name}, judged=made.count)
    context.publish(made.counts, "ingest_counts", f"plan.{name}", {"stage": f"plan.{name}"})
    shared = plan.shared_galaxies(context.read_spark("injection_manifest", [name]))
    if shared and params.plans[name].controls == "unpaired":
        raise DataError(f"plan '{name}': {shared} galaxies are lenses and controls, which must be different galaxies")
    log.info("plan %s: %d stamps, %d galaxies are lenses and controls", name, made.count, shared)
