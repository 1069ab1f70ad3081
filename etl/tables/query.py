"""Spark SQL about the lake's tables by name."""

from __future__ import annotations

import re

from pyspark.sql import DataFrame, SparkSession

from etl.tables.reader import read, read_version
from lake.errors import invalid
from lake.root import DataRoot
from lake.store import views
from lake.store.sql import parse

_EXECUTION = re.compile(r"\b(ScriptTransformation|(?:try_)?reflect\(|java_method\()")


def sql(spark: SparkSession, root: DataRoot, text: str, at: str | None = None) -> DataFrame:
    """The result of a query about tables by name (no paths), each at its pinned version or ``VERSION AS OF <n>``.

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
    answer = spark.sql(statement.tree.sql(dialect="spark") if rewritten else text)
    _refuse_execution(answer)
    return answer


def _refuse_execution(answer: DataFrame) -> None:
    """Refuse a plan that runs a program or calls Java, however the query was written."""
    plan = answer._explain_string(mode="extended")
    found = _EXECUTION.search(plan)
    if found:
        raise invalid("SQL", "a query that neither runs a program nor calls Java", found.group(0).strip())
