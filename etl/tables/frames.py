"""Small Arrow tables as Spark frames, Arrow schemas in Spark's words."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lake.contract.spec import TableSpec

_SPARK_TYPES = {
    pa.string(): "string",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.list_(pa.string()): "array<string>",
}


def ddl(schema: pa.Schema) -> str:
    """Spark column list of an Arrow schema."""
    return ", ".join(f"{field.name} {_SPARK_TYPES[field.type]}" for field in schema)


def small_frame(spark: SparkSession, rows: pa.Table) -> DataFrame:
    """A table that fits the driver as a Spark frame of the same columns and types."""
    values = [tuple(row.values()) for row in rows.to_pylist()]
    return spark.createDataFrame(values, ddl(rows.schema))


def contract_schema(spec: TableSpec) -> pa.Schema:
    """Arrow schema of a table without its lineage columns."""
    return pa.schema([pa.field(c.name, c.arrow.type) for c in spec.columns if c.role != "lineage"])


def contract_names(spec: TableSpec) -> list[str]:
    """Columns of a table that a job makes; the writer adds lineage."""
    return list(contract_schema(spec).names)


def table_of(spec: TableSpec, rows: Sequence[dict[str, object]]) -> pa.Table:
    """Rows given as dictionaries as an Arrow table of a contract's columns; what is not given is null."""
    return pa.Table.from_pylist(list(rows), schema=contract_schema(spec))
