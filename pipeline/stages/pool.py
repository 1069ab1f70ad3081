"""Read the sweeps into the pool of galaxies and the sources near listed candidates, and count every row's fate."""

from __future__ import annotations

from etl.catalogues import pool
from etl.catalogues.partfile import Recipe
from etl.config import PoolParams
from etl.files import listing, sweepfiles
from etl.files.candidatelist import read_list
from lake.provenance import lineage
from pipeline.project.codecards import Code
from pipeline.project.sparkrun import SparkRun


def run(context: SparkRun, params: PoolParams) -> None:
    survey = context.survey
    folder = f"{survey.folder}/sweeps"
    files = sweepfiles.find(folder)
    listed = read_list(f"{survey.folder}/{survey.candidate_list.file}", survey.grades, survey.candidate_list)
    recipe = Recipe(
        params, survey.split, survey.collection, listed.rows.select(["candidate_id", "ra", "dec"]), lineage(),
        context.root.table("tractor_pool"),
    )  # fmt: skip
    place = folder if "://" in folder else str(context.project.folder / folder)
    contents = {str(name): facts for name, *facts in listing.lines(place, listing.memory(context.root, place))}
    made = pool.build(lambda: context.spark, files, recipe, contents, Code().hash("etl/catalogues/pool.py"))
    context.note_input("files", f"{sum(sweep.problem is None for sweep in files)} sweeps in {folder}")
    context.publish(made.parts, "tractor_pool", rejected=made.quarantine)
    context.publish(made.near, "tractor_near_candidates")
    context.publish(made.counts, "ingest_counts", "pool", {"stage": "pool"})
