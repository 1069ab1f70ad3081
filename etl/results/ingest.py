"""Grid batches -> ``injections`` and ``injection_scores``: one verdict per row, the same in both tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from etl.files import storage
from etl.tables.frames import broken_rule_sql, contract_names, contract_schema, ddl, quoted
from lake import tables
from lake.errors import DataError

_SCORES = pa.schema([("score", pa.float64()), ("host_score", pa.float64())])
UNSCORED = "no finite score"


@dataclass(frozen=True)
class GridRun:
    """Which grid was scored, and by which finder: identities and readable names."""

    grid_id: str
    grid_name: str
    checkpoint_id: str
    generation: str


@dataclass(frozen=True)
class ScoreFrames:
    """What the stage publishes; ``quarantine`` rows are in neither table."""

    injections: DataFrame
    injection_scores: DataFrame
    quarantine: DataFrame


def ingest(spark: SparkSession, batches: Sequence[str], scored: GridRun) -> ScoreFrames:
    """Tables of the batch files of one grid and one scorer.

    A row without a finite score is failed, whatever it says of itself. Of rows with one injection_id the lowest
    (file, row) counts; rows of another grid or outside the contract are quarantined. A file that is not a batch is an
    error, since what it held is not known.
    """
    spec = tables.spec("injections")
    schema = pa.schema([*(field for field in contract_schema(spec) if field.name != "grid_name"), *_SCORES])
    _require_batches(batches, schema)
    rows = spark.read.schema(ddl(schema)).parquet(*(storage.absolute(path) for path in batches))
    judged = _judged(rows.withColumn("grid_name", F.lit(scored.grid_name)), scored.grid_id)
    good = judged.where("broken IS NULL")
    return ScoreFrames(
        injections=good.select(*contract_names(spec)),
        injection_scores=_scored(good, scored),
        quarantine=judged.where("broken IS NOT NULL").selectExpr(
            "source_file",
            "row_index",
            "broken AS reason",
            "to_json(named_struct('grid_id', grid_id, 'injection_id', injection_id, 'galaxy_id', galaxy_id)) AS record",
        ),
    )


def _require_batches(batches: Sequence[str], schema: pa.Schema) -> None:
    if not batches:
        raise DataError("the grid has no batches; run `dvc repro grid`")
    for path in batches:
        try:
            with storage.open_file(path) as file:
                held = pq.read_schema(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} is not a grid batch: {error}") from error
        lacking = [name for name in schema.names if name not in held.names]
        if lacking:
            raise DataError(f"{path} is not a grid batch: it lacks the columns {', '.join(lacking)}")


def _judged(rows: DataFrame, grid_id: str) -> DataFrame:
    """Rows with their origin, their status by the scores they hold, and in ``broken`` why they cannot be used."""
    finite = (
        "coalesce(NOT isnan(score) AND NOT isnan(host_score) AND abs(score) < 1e9 AND abs(host_score) < 1e9, false)"
    )
    located = rows.select("*", "_metadata.file_name", F.col("_metadata.row_index").alias("row_index"))
    located = located.withColumnRenamed("file_name", "source_file").withColumn("_finite", F.expr(finite))
    status = located.withColumns(
        {
            "reason": F.expr(f"CASE WHEN status = 'scored' AND NOT _finite THEN '{UNSCORED}' ELSE reason END"),
            "status": F.expr("CASE WHEN status = 'scored' AND NOT _finite THEN 'failed' ELSE status END"),
        }
    )
    other = f"'grid_id must be {quoted(grid_id)}, the grid of these batches'"
    rule = broken_rule_sql(tables.spec("injections"))
    broken = f"CASE WHEN NOT (grid_id <=> '{quoted(grid_id)}') THEN {other} ELSE {rule} END"
    ruled = status.withColumn("broken", F.expr(broken))
    order = Window.partitionBy("injection_id", F.col("broken").isNull()).orderBy("source_file", "row_index")
    repeated = F.col("broken").isNull() & (F.row_number().over(order) > 1)
    return ruled.withColumn("broken", F.when(repeated, "duplicate key (injection_id)").otherwise(F.col("broken")))


def _scored(rows: DataFrame, scored: GridRun) -> DataFrame:
    good = "status = 'scored'"
    return rows.selectExpr(
        "grid_id",
        "grid_name",
        "injection_id",
        f"'{quoted(scored.checkpoint_id)}' AS checkpoint_id",
        f"'{quoted(scored.generation)}' AS generation",
        f"CASE WHEN {good} THEN score END AS score",
        f"CASE WHEN {good} THEN host_score END AS host_score",
        f"CASE WHEN {good} THEN 1 / (1 + exp(-score)) END AS probability",
        f"CASE WHEN {good} THEN 1 / (1 + exp(-host_score)) END AS host_probability",
        "status",
    )
