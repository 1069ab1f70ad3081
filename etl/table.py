"""Delta tables through Spark SQL: made to their contract, replaced a slice at a time."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.utils import AnalysisException

from lake.delta import TABLE_PROPERTIES, where_sql
from lake.errors import LakeError
from lake.root import DataRoot
from lake.spec import TableSpec

_CONSTRAINT = "delta.constraints."
_HISTORY_ROWS = 50


@dataclass(frozen=True)
class Written:
    """A commit: the table's version and identity, and the rows it added."""

    version: int
    table_id: str
    rows: int


def replace(
    df: DataFrame, spec: TableSpec, root: DataRoot, where: Mapping[str, str], note: Mapping[str, object]
) -> Written:
    """Put ``df`` in place of the rows that meet ``where`` (all rows where it is empty), as one commit.

    ``note`` goes into the table's own history.
    """
    spark, uri = df.sparkSession, location(root, spec.name)
    ensure(spark, spec, uri)
    _drop_other_constraints(spark, spec, uri)
    mark = uuid.uuid4().hex
    writer = df.write.format("delta").mode("overwrite")
    writer = writer.option("userMetadata", json.dumps({**note, "write": mark}, sort_keys=True))
    if where:
        writer = writer.option("replaceWhere", where_sql(where))
    writer.save(uri)
    written = _find_commit(spark, uri, mark)
    _add_missing_constraints(spark, spec, uri)
    return written


def location(root: DataRoot, name: str) -> str:
    """Where Spark finds a table; Hadoop outside EMR knows S3 as s3a."""
    return root.table(name).replace("s3://", "s3a://")


def ensure(spark: SparkSession, spec: TableSpec, uri: str) -> None:
    """Make the table, in one commit, where it does not exist."""
    properties = {**TABLE_PROPERTIES, **{f"{_CONSTRAINT}{name}": sql for name, sql in spec.constraints().items()}}
    listed = ", ".join(f"{literal(name)} = {literal(value)}" for name, value in properties.items())
    partitions = f"PARTITIONED BY ({', '.join(spec.slice_by)})" if spec.slice_by else ""
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS delta.`{uri}` ({spec.ddl()}) USING delta {partitions} "
        f"COMMENT {literal(spec.meaning)} TBLPROPERTIES ({listed})"
    )
    columns = spark.read.format("delta").load(uri).columns
    if columns != list(spec.names):
        raise LakeError(f"table '{spec.name}' in the lake has other columns than its contract; delete {uri}")


def head(spark: SparkSession, uri: str) -> tuple[int, str]:
    """The table's last version and its identity."""
    version = spark.sql(f"DESCRIBE HISTORY delta.`{uri}` LIMIT 1").select("version").first()
    detail = spark.sql(f"DESCRIBE DETAIL delta.`{uri}`").select("id").first()
    if version is None or detail is None:
        raise LakeError(f"{uri} has no history")
    return int(version["version"]), str(detail["id"])


def literal(text: str) -> str:
    """A string literal of Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _find_commit(spark: SparkSession, uri: str, mark: str) -> Written:
    history = spark.sql(f"DESCRIBE HISTORY delta.`{uri}` LIMIT {_HISTORY_ROWS}")
    for commit in history.select("version", "userMetadata", "operationMetrics").collect():
        if mark in (commit["userMetadata"] or ""):
            rows = int(commit["operationMetrics"].get("numOutputRows", 0))
            return Written(int(commit["version"]), head(spark, uri)[1], rows)
    raise LakeError(f"the commit just made is not among the last {_HISTORY_ROWS} of {uri}: another writer is at work")


def _held_constraints(spark: SparkSession, uri: str) -> dict[str, str]:
    rows = spark.sql(f"SHOW TBLPROPERTIES delta.`{uri}`").collect()
    return {row["key"].removeprefix(_CONSTRAINT): row["value"] for row in rows if row["key"].startswith(_CONSTRAINT)}


def _drop_other_constraints(spark: SparkSession, spec: TableSpec, uri: str) -> None:
    wanted = {name.lower(): sql for name, sql in spec.constraints().items()}
    for name, sql in _held_constraints(spark, uri).items():
        if wanted.get(name.lower()) != sql:
            spark.sql(f"ALTER TABLE delta.`{uri}` DROP CONSTRAINT IF EXISTS {name}")


def _add_missing_constraints(spark: SparkSession, spec: TableSpec, uri: str) -> None:
    held = {name.lower() for name in _held_constraints(spark, uri)}
    for name, sql in spec.constraints().items():
        if name.lower() not in held:
            try:
                spark.sql(f"ALTER TABLE delta.`{uri}` ADD CONSTRAINT {name} CHECK ({sql})")
            except AnalysisException as error:
                raise LakeError(f"other slices of '{spec.name}' break its new rule {name}: make them again") from error
