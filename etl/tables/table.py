"""Tables in Spark: read at their pinned versions only, and replaced slice by slice.

What a table says about itself (columns, constraints, commits) is read without Spark, which takes seconds for it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from functools import reduce

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession

from etl.spark.settings import submitted
from lake import tables
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.files import storage
from lake.root import DataRoot
from lake.store import delta, writing
from lake.store.cards import Slice
from lake.store.writing import Provenance

_COMMITS_SEARCHED = 50
_ROWS_PER_FILE = 1_000_000
_SPARK_TYPES = {
    pa.string(): "string", pa.int32(): "int", pa.int64(): "bigint", pa.float32(): "float", pa.float64(): "double",
    pa.bool_(): "boolean", pa.list_(pa.string()): "array<string>", pa.timestamp("us", "UTC"): "timestamp",
}  # fmt: skip


def arrow(df: DataFrame) -> pa.Table:
    """The rows of a frame."""
    if hasattr(df, "toArrow"):
        return df.toArrow()
    from pyspark.sql.pandas.types import to_arrow_schema  # Spark 3.5

    return pa.Table.from_batches(df._collect_as_arrow(), to_arrow_schema(df.schema))


def ddl(schema: pa.Schema) -> str:
    """Spark column list of an Arrow schema."""
    return ", ".join(f"{field.name} {_SPARK_TYPES[field.type]}" for field in schema)


def read(
    spark: SparkSession, root: DataRoot, name: str, slices: Sequence[str | None] | None = None, at: str | None = None
) -> DataFrame:
    """Rows of a table: all slices, or the named ones; ``at`` a git revision, whose committed pins then count."""
    spec = tables.spec(name)
    parts = [_read_slice(spark, root, entry) for entry in delta.chosen(root, name, slices, at)]
    return reduce(DataFrame.unionByName, parts).select(*spec.names)


def none(spark: SparkSession, name: str) -> DataFrame:
    """No rows of a table."""
    return spark.createDataFrame([], ddl(tables.spec(name).arrow_schema()))


def read_version(spark: SparkSession, root: DataRoot, name: str, version: int) -> DataFrame:
    """All rows of one version of a table, pinned or not."""
    return spark.read.format("delta").option("versionAsOf", version).load(location(root, name))


def _read_slice(spark: SparkSession, root: DataRoot, entry: Slice) -> DataFrame:
    delta.require_files(root, entry, delta.open_pinned(root, entry))
    rows = read_version(spark, root, entry.card.table, entry.pin.version)
    return rows.where(delta.where_sql(entry.card.where)) if entry.card.where else rows


def replace(
    df: DataFrame, rows: int, spec: TableSpec, root: DataRoot, where: Mapping[str, str], who: Provenance
) -> DeltaTable:
    """Replace the rows that meet ``where`` (all if it is empty) by the ``rows`` rows of ``df``, in one commit.

    Returns the table at that version. Replacing an empty slice with no rows commits nothing. LakeError if another
    number of rows was written.
    """
    mark = uuid.uuid4().hex
    writer = df.coalesce(rows // _ROWS_PER_FILE + 1).write.format("delta").mode("overwrite")
    writer = writer.option("userMetadata", json.dumps({**who.note, "write": mark}, sort_keys=True))
    if where:
        writer = writer.option("replaceWhere", delta.where_sql(where))

    def save() -> DeltaTable:
        with writing.enforced(root, spec):
            writer.save(location(root, spec.name))
            return _require_commit(root.table(spec.name), writing.opened(root, spec), mark, rows)

    return writing.undisturbed(save)


def location(root: DataRoot, name: str) -> str:
    """Where Spark finds a table; without a cluster, which knows s3://, S3 goes by Hadoop's name."""
    place = root.table(name)
    return place if submitted() else place.replace("s3://", "s3a://")


def _require_commit(place: str, table: DeltaTable, mark: str, rows: int) -> DeltaTable:
    """The table at the version of the commit with a mark.

    The log's own files are read: of :meth:`DeltaTable.history` the versions are wrong if others commit meanwhile.
    """
    newest = int(table.version())
    for version in range(newest, max(newest - _COMMITS_SEARCHED, -1), -1):
        text = storage.read(f"{place}/_delta_log/{version:020}.json")
        if mark.encode() in text:
            commit = next(entry for line in text.splitlines() if (entry := json.loads(line).get("commitInfo")))
            written = int(commit["operationMetrics"]["numOutputRows"])
            if written != rows:
                raise LakeError(f"{place}: {written} of {rows} rows were written; run the stage again")
            table.load_as_version(version)
            return table
    if rows:
        raise LakeError(
            f"the commit just made is not among the last {_COMMITS_SEARCHED} of {place}: "
            "others write to this table; run the stage again"
        )
    return table
