"""The pool as the stage makes it: ``python -m benchmarks.pool.product <folder of sweeps> <data root>``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import yaml
from pyspark.sql import SparkSession

from benchmarks.pool import made_up
from etl.catalogues import pool
from etl.catalogues.partfile import Recipe
from etl.config import PoolParams
from etl.files import listing, sweepfiles
from etl.spark.session import session
from lake import provenance, tables
from lake.config import SplitParams
from lake.root import DataRoot
from lake.store import parts, quarantine
from lake.store.writing import Provenance, Target

_BASE = Path(__file__).resolve().parents[2] / "params" / "base.yaml"


def listed() -> pa.Table:
    """The listed positions."""
    ra, dec = made_up.positions()
    return pa.table({"candidate_id": [f"c{i:04d}" for i in range(len(ra))], "ra": ra, "dec": dec})


def run(folder: str, root: DataRoot, spark: Callable[[], SparkSession]) -> None:
    """Find the sweeps, make the tables, publish them."""
    values = yaml.safe_load(_BASE.read_text())
    params = PoolParams.load(values["pool"], "pool")
    split = SplitParams.load(values["survey"]["split"], "survey.split")
    recipe = Recipe(params, split, "bench", listed(), provenance.lineage(), root.table("tractor_pool"))
    contents = {str(name): facts for name, *facts in listing.lines(folder, listing.memory(root, folder))}
    made = pool.build(spark, sweepfiles.find(folder), recipe, contents, "benchmark")
    who = Provenance("pool")
    parts.publish(Target(root, tables.spec("tractor_pool"), None, {}, who), made.parts, made.quarantine)
    quarantine.publish(Target(root, tables.spec("tractor_near_candidates"), None, {}, who), made.near)
    counts = Target(root, tables.spec("ingest_counts"), "pool", {"stage": "pool"}, who)
    quarantine.publish(counts, made.counts)


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    place = DataRoot.of(sys.argv[2])
    run(sys.argv[1], place, lambda: session(place, "pool"))
