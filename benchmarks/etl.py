"""Times of the Spark jobs on a survey folder: ``python -m benchmarks.etl <survey folder> [parameter set]``.

Each job runs twice on one server, and its tables are published as a stage does it; the second time, with everything
warm, is what a stage costs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from etl import config
from etl.catalogues import candidates, negatives, pool
from etl.catalogues.partfile import Recipe
from etl.cutouts import cutting, manifest, packing
from etl.cutouts.cutting import Coadds, Sources
from etl.files import sweepfiles
from etl.files.candidatelist import read_list
from etl.spark.session import session
from etl.tables.scan import Named, scan
from lake import provenance, tables
from lake.config import CandidateListParams, SplitParams
from lake.root import DataRoot
from lake.store import delta, parts, quarantine
from lake.store.parts import Parts
from lake.store.writing import Provenance, Target

_PARAMS = Path(__file__).resolve().parents[1] / "params" / "base.yaml"


class Run:
    """One pass over all jobs, timed."""

    def __init__(self, spark: Any, survey: Path, values: dict[str, Any]) -> None:
        self.spark, self.survey, self.values = spark, survey, values
        self.work = Path(tempfile.mkdtemp())
        self.root = DataRoot.of(self.work / "data")
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, job: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = job()
        self.seconds[name] = time.perf_counter() - started
        return result

    def published(self, made: pa.Table | Parts, name: str, **more: Any) -> pa.Table:
        """Publish rows as a stage does, and read them back."""
        spec = tables.spec(name)
        target = Target(self.root, spec, None, {"stage": "pool"} if spec.slice_by else {}, Provenance("pool"))
        if isinstance(made, Parts):
            parts.publish(target, made, **more)
        else:
            quarantine.publish(target, made)
        return delta.read(self.root, name, ordered=False)

    def all(self) -> None:
        section = {
            name: getattr(config, f"{name.capitalize()}Params").load(self.values[name], name)
            for name in ("pool", "candidates", "negatives", "cutouts", "manifest")
        }
        how = CandidateListParams.load(self.values["survey"]["candidate_list"], "survey.candidate_list")
        listed = read_list(str(self.survey / how.file), self.values["survey"]["grades"], how).rows
        self.timed("pool", partial(self.pool, listed, section["pool"]))
        near, pool_rows = delta.read(self.root, "tractor_near_candidates"), partial(scan, self.spark, self.root)

        def match() -> pa.Table:
            return self.published(candidates.match(listed, near, section["candidates"], self.split), "lens_candidates")

        def sample() -> pa.Table:
            rows = partial(pool_rows, "tractor_pool")
            return self.published(negatives.sample(rows, near, found, section["negatives"], 42)[0], "negatives")

        def choose() -> pa.Table:
            facts = pool_rows("tractor_pool", Named.of(drawn["galaxy_id"], manifest.FACTS))
            name = next(iter(section["manifest"].manifests))
            return manifest.rows(drawn, found, near, facts, stamps, section["manifest"], name)

        found = self.timed("candidates", match)
        drawn = self.timed("negatives", sample)
        known = pool_rows("tractor_pool", Named.of(drawn["galaxy_id"], cutting.KNOWN))
        stamps = self.cutouts(Sources.of(cutting.requests(drawn, found, near, known)), section["cutouts"])
        made = self.timed("manifest", choose)
        print(f"{stamps.num_rows} cut-outs, {made.num_rows} manifest rows")

    @property
    def split(self) -> SplitParams:
        return SplitParams.load(self.values["survey"]["split"], "survey.split")

    def pool(self, listed: pa.Table, params: config.PoolParams) -> None:
        """Read all sweeps, and publish the three tables that come of it."""
        files, places = sweepfiles.find(str(self.survey / "sweeps")), listed.select(["candidate_id", "ra", "dec"])
        where = self.root.table("tractor_pool")
        recipe = Recipe(params, self.split, "bench", places, provenance.lineage(), where)
        made = pool.build(lambda: self.spark, files, recipe, {}, "benchmark")
        self.published(made.counts, "ingest_counts")
        self.published(made.parts, "tractor_pool", rejected=made.quarantine)
        self.published(made.near, "tractor_near_candidates")
        print(f"{len(files)} sweeps")

    def cutouts(self, sources: Sources, params: config.CutoutsParams) -> pa.Table:
        """Cut stamps from coadds, pack them into shards and publish their table."""
        wanted = sources.in_bricks(str(self.survey), params)
        coadds = Coadds(lambda: self.spark, str(self.survey), params, "bench", "benchmark")
        nothing, old, new = packing.PACKED_SCHEMA.empty_table(), self.work / "old", self.work / "shards"
        index = self.timed("extract", lambda: packing.completed(coadds, wanted, self.work, nothing))
        rows = self.timed("assemble", lambda: packing.rows(packing.packed(index, self.work, old, new, params)))
        return self.timed("publish cut-outs", lambda: self.published(rows, "cutouts"))


def main() -> None:
    survey = Path(sys.argv[1])
    values = yaml.safe_load(_PARAMS.read_text())
    if len(sys.argv) > 2:
        overlay = yaml.safe_load((_PARAMS.parent / f"{sys.argv[2]}.yaml").read_text())
        for name, changes in overlay.items():
            if isinstance(values.get(name), dict) and isinstance(changes, dict):
                values[name] |= changes
    spark = session(DataRoot.of(tempfile.mkdtemp()), "benchmark")
    for label in ("cold", "warm"):
        run = Run(spark, survey, values)
        run.all()
        print(label, {name: f"{seconds:.1f} s" for name, seconds in run.seconds.items()})
    spark.stop()


if __name__ == "__main__":
    main()
