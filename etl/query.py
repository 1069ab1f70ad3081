"""Spark SQL about the lake's tables by name."""

from __future__ import annotations

from pyspark.sql import DataFrame, SparkSession

from etl.reader import read, read_version
from lake import views
from lake.root import DataRoot
from lake.sql import parse


def sql(spark: SparkSession, root: DataRoot, text: str, at: str | None = None) -> DataFrame:
    """The answer to a query about tables by name (no paths), each at its pinned version or ``VERSION AS OF <n>``.

    ``at`` is a git revision, whose committed pins then count.
    """
    statement = parse(text)
    for named in statement.named:
        if named.version is not None:
            read_version(spark, root, named.table, named.version).createOrReplaceTempView(named.view)
    pinned = {table for named in statement.named if named.version is None for table in views.named(named.table)}
    for table in sorted(pinned):
        read(spark, root, table, at=at).createOrReplaceTempView(table)
    for name in {named.table for named in statement.named} & set(views.names()):
        spark.sql(views.view(name).sql).createOrReplaceTempView(name)
    rewritten = any(named.version is not None for named in statement.named)
    return spark.sql(statement.tree.sql(dialect="spark") if rewritten else text)
