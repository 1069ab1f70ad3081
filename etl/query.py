"""Spark SQL about the lake's tables by name."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from etl.reader import read, read_version
from lake.root import DataRoot
from lake.sql import parse


def sql(spark: SparkSession, root: DataRoot, text: str, at: str | None = None) -> DataFrame:
    """The answer to a query about tables by name (no paths), each at its pinned version or ``VERSION AS OF <n>``.

    ``at`` is a git revision, whose committed pins then count.
    """
    statement = parse(text)
    for named in statement.named:
        if named.version is None:
            rows = read(spark, root, named.table, at=at)
        else:
            rows = read_version(spark, root, named.table, named.version)
        rows.createOrReplaceTempView(named.view)
    rewritten = any(named.version is not None for named in statement.named)
    return spark.sql(statement.tree.sql(dialect="spark") if rewritten else text)
