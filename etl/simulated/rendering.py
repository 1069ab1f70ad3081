"""``injection_manifest`` -> pixels and rows of ``stamps``: one task per shard, files that a repeated run keeps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl.cutouts.bricks import Bricks, holding_brick
from etl.simulated.shards import PLANNED, Renderer, ShardMaker
from etl.stampconfig import StampCutting
from lake.errors import DataError
from lake.files import storage
from lake.progress import watch
from lake.sky.hashing import key_hash_sql
from lake.store.stamps import BUCKET_SEED

log = logging.getLogger(__name__)

_MOST_PARTITIONS = 512


@dataclass(frozen=True)
class Rows:
    """Rows of ``stamps``, and how many there are."""

    frame: DataFrame
    count: int


def rendered(
    spark: SparkSession, plan: DataFrame, survey: str, cutting: StampCutting, render: Renderer, work: Path
) -> Rows:
    """Write shards below ``<work>/shards`` and their rows below ``<work>/rows``; all rows of ``stamps``.

    Each planned stamp has a row; DataError if the counts differ. What a killed run has finished is not made again:
    ``work`` belongs to one plan, one code and one set of parameters.
    """
    if next(storage.files(storage.below(survey, "coadds")), None) is None:
        raise DataError(f"{survey}/coadds is missing or empty: put the survey's coadds there")
    folder = work.resolve()
    (folder / "rows").mkdir(parents=True, exist_ok=True)
    maker = ShardMaker(storage.absolute(survey), str(folder), cutting, render)
    rows = _dealt(plan, survey, cutting)
    with watch(lambda: len(list((folder / "rows").glob("[!.]*.parquet"))), "render shards", cutting.shards):
        done = rows.mapInArrow(maker, "shard int, rows bigint").collect()
    made, wanted = sum(row["rows"] for row in done), plan.count()
    if made != wanted:
        raise DataError(f"{wanted} stamps are planned, but {made} are accounted for")
    log.info("%d stamps in %d shards", made, len(done))
    return Rows(spark.read.parquet(str(folder / "rows")), made)


def _dealt(plan: DataFrame, survey: str, cutting: StampCutting) -> DataFrame:
    """Planned stamps with the brick that holds them and its shard, in the order of shards."""
    finder = _BrickFinder(Bricks.read(storage.below(survey, "survey-bricks.fits")), cutting)
    galaxies = plan.select("galaxy_id", "ra", "dec", "brickname").distinct()
    held = galaxies.mapInArrow(finder, "galaxy_id string, brick string")
    number = f"cast(pmod({key_hash_sql(BUCKET_SEED, 'brick')}, {cutting.shards}) as int)"
    rows = plan.select(*PLANNED).join(held, on="galaxy_id", how="inner").withColumn("shard", F.expr(number))
    return rows.repartition(min(cutting.shards, _MOST_PARTITIONS), "shard").sortWithinPartitions("shard")


@dataclass(frozen=True)
class _BrickFinder:
    """``mapInArrow`` function: galaxies -> the brick whose coadds hold their stamp, '' if none does."""

    bricks: Bricks
    cutting: StampCutting

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            ra, dec = (batch[name].to_numpy() for name in ("ra", "dec"))
            own = np.asarray(batch["brickname"].to_pylist(), dtype=str)
            sizes = self.cutting.stamp_pixels, self.cutting.coadd_pixels
            found = holding_brick(self.bricks, own, ra, dec, *sizes) if len(own) else own
            yield pa.RecordBatch.from_pydict({"galaxy_id": batch["galaxy_id"], "brick": pa.array(found, pa.string())})
