"""Reading tables with Spark, at their pinned versions only."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession

from etl.tables.table import location
from lake import tables
from lake.root import DataRoot
from lake.store import delta
from lake.store.cards import Slice


def read(
    spark: SparkSession, root: DataRoot, name: str, slices: Sequence[str | None] | None = None, at: str | None = None
) -> DataFrame:
    """Rows of a table: all slices, or the named ones; ``at`` a git revision, whose committed pins then count."""
    spec = tables.spec(name)
    parts = [_read_slice(spark, root, entry) for entry in delta.chosen(root, name, slices, at)]
    return reduce(DataFrame.unionByName, parts).select(*spec.names)


def read_version(spark: SparkSession, root: DataRoot, name: str, version: int) -> DataFrame:
    """All rows of one version of a table, pinned or not."""
    return spark.read.format("delta").option("versionAsOf", version).load(location(root, name))


def _read_slice(spark: SparkSession, root: DataRoot, entry: Slice) -> DataFrame:
    delta.require_files(root, entry, delta.open_pinned(root, entry))
    rows = read_version(spark, root, entry.card.table, entry.pin.version)
    return rows.where(delta.where_sql(entry.card.where)) if entry.card.where else rows
