"""Small Arrow tables as Spark frames, Arrow schemas in Spark's words."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

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
