"""Small Arrow tables as Spark frames, Arrow schemas in Spark's words, and contracts as Spark expressions."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

from lake import tables
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


def frame(spark: SparkSession, rows: pa.Table, table: str) -> DataFrame:
    """Rows of a table's contract, lineage excepted, as a Spark frame."""
    return small_frame(spark, rows.select(contract_names(tables.spec(table))))


def contract_schema(spec: TableSpec) -> pa.Schema:
    """Arrow schema of a table without its lineage columns."""
    return pa.schema([pa.field(c.name, c.arrow.type) for c in spec.columns if c.role != "lineage"])


def contract_names(spec: TableSpec) -> list[str]:
    """Columns of a table that a job makes; the writer adds lineage."""
    return list(contract_schema(spec).names)


def table_of(spec: TableSpec, rows: Sequence[dict[str, object]]) -> pa.Table:
    """Rows given as dictionaries as an Arrow table of a contract's columns; what is not given is null."""
    return pa.Table.from_pylist(list(rows), schema=contract_schema(spec))


def broken_rule_sql(spec: TableSpec) -> str:
    """Spark SQL: the first rule of the contract that a row breaks, in words, or NULL; lineage is not looked at."""
    lineage = {f"{c.name}_valid" for c in spec.columns if c.role == "lineage"}
    whens = [f"WHEN NOT ({rule.sql}) THEN '{quoted(rule.text)}'" for rule in spec.rules() if rule.name not in lineage]
    return f"CASE {' '.join(whens)} END"


def quoted(text: str) -> str:
    """Text inside a Spark SQL literal."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def in_list(values: Sequence[str]) -> str:
    """Values as an SQL list."""
    return ", ".join(f"'{quoted(value)}'" for value in values)
