"""Delta tables as Spark writes them: made to their contract, replaced a slice at a time.

What a table says about itself (columns, constraints, commits) is read without Spark, which takes seconds for it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from deltalake import DeltaTable
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from etl.spark.settings import on_emr
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store.delta import TABLE_PROPERTIES, storage_options, where_sql

_CONSTRAINT = "delta.constraints."
_COMMITS_SEARCHED = 50
_ROWS_PER_FILE = 1_000_000


@dataclass(frozen=True)
class Written:
    """A commit: the table's version and identity, and the rows it added."""

    version: int
    table_id: str
    rows: int


def replace(
    df: DataFrame, rows: int, spec: TableSpec, root: DataRoot, where: Mapping[str, str], note: Mapping[str, object]
) -> Written:
    """Put the ``rows`` rows of ``df`` in place of those that meet ``where`` (of all where it is empty), as one commit.

    ``note`` goes into the table's own history. Replacing an empty slice with no rows commits nothing.
    """
    held = ensure(df.sparkSession, spec, root)
    _drop_other_constraints(df.sparkSession, spec, held, root)
    mark = uuid.uuid4().hex
    files = df.coalesce(rows // _ROWS_PER_FILE + 1)
    writer = files.write.format("delta").mode("overwrite")
    writer = writer.option("userMetadata", json.dumps({**note, "write": mark}, sort_keys=True))
    if where:
        writer = writer.option("replaceWhere", where_sql(where))
    writer.save(location(root, spec.name))
    written = _find_commit(opened(root, spec.name), mark, rows)
    _add_missing_constraints(df.sparkSession, spec, root)
    return written


def location(root: DataRoot, name: str) -> str:
    """Where Spark finds a table; outside EMR, S3 goes by Hadoop's name."""
    place = root.table(name)
    return place if on_emr() else place.replace("s3://", "s3a://")


def opened(root: DataRoot, name: str) -> DeltaTable:
    """The table's last version, for its metadata."""
    return DeltaTable(root.table(name), storage_options=storage_options())


def ensure(spark: SparkSession, spec: TableSpec, root: DataRoot) -> DeltaTable:
    """The table, made in one commit where it does not exist."""
    if not DeltaTable.is_deltatable(root.table(spec.name), storage_options=storage_options()):
        _create(spark, spec, location(root, spec.name))
    held = opened(root, spec.name)
    if [field.name for field in held.schema().fields] != list(spec.names):
        place = root.table(spec.name)
        raise LakeError(f"table '{spec.name}' in the lake has other columns than its contract; delete {place}")
    return held


def literal(text: str) -> str:
    """A string literal of Spark SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _create(spark: SparkSession, spec: TableSpec, place: str) -> None:
    properties = {**TABLE_PROPERTIES, **{f"{_CONSTRAINT}{name}": sql for name, sql in spec.constraints().items()}}
    listed = ", ".join(f"{literal(name)} = {literal(value)}" for name, value in properties.items())
    partitions = f"PARTITIONED BY ({', '.join(spec.slice_by)})" if spec.slice_by else ""
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS delta.`{place}` ({spec.ddl()}) USING delta {partitions} "
        f"COMMENT {literal(spec.meaning)} TBLPROPERTIES ({listed})"
    )


def _find_commit(held: DeltaTable, mark: str, expected: int) -> Written:
    for commit in held.history(_COMMITS_SEARCHED):
        if mark in commit.get("userMetadata", ""):
            rows = int(commit["operationMetrics"]["numOutputRows"])
            return Written(int(commit["version"]), str(held.metadata().id), rows)
    if expected == 0:
        return Written(int(held.version()), str(held.metadata().id), 0)
    raise LakeError(f"the commit just made is not among the last {_COMMITS_SEARCHED} of {held.table_uri}")


def _constraints(held: DeltaTable) -> dict[str, str]:
    properties = held.metadata().configuration
    return {name.removeprefix(_CONSTRAINT): sql for name, sql in properties.items() if name.startswith(_CONSTRAINT)}


def _drop_other_constraints(spark: SparkSession, spec: TableSpec, held: DeltaTable, root: DataRoot) -> None:
    wanted = {name.lower(): sql for name, sql in spec.constraints().items()}
    for name, sql in _constraints(held).items():
        if wanted.get(name.lower()) != sql:
            spark.sql(f"ALTER TABLE delta.`{location(root, spec.name)}` DROP CONSTRAINT IF EXISTS {name}")


def _add_missing_constraints(spark: SparkSession, spec: TableSpec, root: DataRoot) -> None:
    names = {name.lower() for name in _constraints(opened(root, spec.name))}
    for name, sql in spec.constraints().items():
        if name.lower() not in names:
            try:
                spark.sql(f"ALTER TABLE delta.`{location(root, spec.name)}` ADD CONSTRAINT {name} CHECK ({sql})")
            except AnalysisException as error:
                raise LakeError(f"other slices of '{spec.name}' break its new rule {name}: remake them") from error
