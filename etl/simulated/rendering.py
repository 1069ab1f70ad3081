"""``injection_manifest`` -> pixels and rows of ``stamps``: one task per shard, files that a repeated run keeps."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.pandas.types import from_arrow_schema

from etl.cutouts.bricks import Bricks, holding_brick
from etl.simulated.shards import PLANNED, ROW_SCHEMA, ShardMaker
from etl.stampconfig import StampCutting
from lake.addresses import is_remote
from lake.errors import DataError
from lake.files import storage
from lake.progress import watch
from lake.sky.hashing import key_hash_sql
from lake.store.stamps import BUCKET_SEED, shard_name

log = logging.getLogger(__name__)

_MOST_PARTITIONS = 512


@dataclass(frozen=True)
class Rows:
    """Rows of ``stamps``, how many there are, and the addresses of shards in an object store, by their names."""

    frame: DataFrame
    count: int
    stored: dict[str, str]


def rendered(spark: SparkSession, plan: DataFrame, maker: ShardMaker) -> Rows:
    """Make the shards of a plan; all rows of ``stamps``.

    Each planned stamp has a row; DataError if the counts differ. What a killed run has finished is not made again:
    the maker's folder belongs to one plan, one code and one set of parameters.
    """
    if next(storage.files(storage.below(maker.survey, "coadds")), None) is None:
        raise DataError(f"{maker.survey}/coadds is missing or empty: put the survey's coadds there")
    place, rows = storage.below(maker.folder, "rows"), _dealt(plan, maker.survey, maker.cutting)
    with watch(lambda: len(_finished(place)), "render shards", maker.cutting.shards):
        done = rows.mapInArrow(maker, "shard int, rows bigint, place string").collect()
    made, wanted = sum(row["rows"] for row in done), plan.count()
    if made != wanted:
        raise DataError(f"{wanted} stamps are planned, but {made} are accounted for")
    log.info("%d stamps in %d shards", made, len(done))
    stored = {shard_name(row["shard"]): row["place"] for row in done if row["place"] is not None}
    return Rows(_read(spark, place, [maker.index(row["shard"]) for row in done]), made, stored)


def _finished(place: str) -> list[str]:
    return [name for name, _ in storage.files(place) if name.endswith(".parquet") and not name.startswith(".")]


def _read(spark: SparkSession, place: str, files: list[str]) -> DataFrame:
    """The rows of all shards; those in an object store are read by Spark's Python workers, as they were written."""
    if not is_remote(place):
        return spark.read.parquet(place)
    names = spark.createDataFrame([(file,) for file in files], "file string").repartition(
        min(len(files), _MOST_PARTITIONS)
    )
    return names.mapInArrow(_contents, from_arrow_schema(ROW_SCHEMA))


def _contents(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """``mapInArrow`` function: names of files -> their rows."""
    for batch in batches:
        for name in batch["file"].to_pylist():
            with storage.open_file(name) as file:
                yield from pq.read_table(file, schema=ROW_SCHEMA).to_batches()


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
