"""Read the sweeps into the pool of galaxies and the sources near listed candidates, and count every row's fate."""

from __future__ import annotations

from pathlib import Path

from etl.catalogues import pool
from etl.config import PoolParams
from etl.files import sweepfiles, sweeps
from etl.files.candidatelist import read_list
from pipeline.project.codecards import Code
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: PoolParams) -> None:
    survey = context.survey
    files = sweepfiles.find(f"{survey.folder}/sweeps")
    listed = read_list(Path(survey.folder) / "candidates.csv", survey.grades)
    code = Code().hash("etl/catalogues/pool.py")
    work = context.work(params.digest(), survey.digest(), [sweeps.identity(sweep) for sweep in files], code)
    frames = pool.build(context.spark, files, listed.rows, params, survey.split, survey.collection, str(work))
    context.note_input("files", f"{sum(sweep.problem is None for sweep in files)} sweeps in {survey.folder}/sweeps")
    context.publish(frames.pool, "tractor_pool", rejected=frames.quarantine, judged=frames.pool_rows)
    context.publish(frames.near, "tractor_near_candidates")
    context.publish(frames.counts, "ingest_counts", "pool", {"stage": "pool"})
