"""Grid batches -> ``injections`` and ``injection_scores``: one verdict per row, the same in both tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl.tables import judge
from etl.tables.table import ddl
from lake import tables
from lake.contract.rules import literal, reason_sql
from lake.errors import DataError
from lake.files import storage

_SCORES = pa.schema([("score", pa.float64()), ("host_score", pa.float64())])
UNSCORED = "no finite score"
_KEY = ["injection_id"]


@dataclass(frozen=True)
class GridRun:
    """Which grid was scored, and by which finder: identities and readable names."""

    grid_id: str
    grid_name: str
    checkpoint_id: str
    generation: str


@dataclass(frozen=True)
class ScoreFrames:
    """The stage's tables: ``rows`` good rows without duplicates in each; those of ``quarantine`` are in neither."""

    rows: int
    injections: DataFrame
    injection_scores: DataFrame
    quarantine: DataFrame | None
    """None if all rows are good: nothing is then read or judged again."""


def ingest(spark: SparkSession, batches: Sequence[str], scored: GridRun) -> ScoreFrames:
    """Tables of the batch files of one grid and one scorer.

    A row without a finite score is failed, even if its status is ``scored``. Of rows with one injection_id the lowest
    (file, row) counts; rows of another grid or outside the contract are quarantined. A file that is not a batch is an
    error, since what it held is not known.
    """
    spec = tables.spec("injections")
    schema = pa.schema([*(field for field in spec.row_schema() if field.name != "grid_name"), *_SCORES])
    _require_batches(batches, schema)
    rows = spark.read.schema(ddl(schema)).parquet(*(storage.absolute(path) for path in batches))
    judged = _judged(rows.withColumn("grid_name", F.lit(scored.grid_name)), scored.grid_id)
    found = judge.count(judged, _KEY)
    if found.repeated:
        judged = judge.unique(judged, _KEY, F.struct("source_file", "row_index"))
    clean = found.good == found.rows
    good = judged if clean else judged.where(f"{judge.REASON} IS NULL")
    return ScoreFrames(
        rows=found.good,
        injections=good.select(*spec.row_schema().names),
        injection_scores=_scored(good, scored),
        quarantine=None
        if clean
        else judged.where(f"{judge.REASON} IS NOT NULL").selectExpr(
            "source_file",
            "row_index",
            f"{judge.REASON} AS reason",
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
    """Rows with their origin, their status according to their scores, and in ``_reason`` why they cannot be used."""
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
    grid = literal(grid_id, "spark")
    other = literal(f"grid_id must be {grid_id}, the grid of these batches", "spark")
    rule = reason_sql(tables.spec("injections"), "spark", lineage=False)
    return status.withColumn(judge.REASON, F.expr(f"CASE WHEN NOT (grid_id <=> {grid}) THEN {other} ELSE {rule} END"))


def _scored(rows: DataFrame, scored: GridRun) -> DataFrame:
    good = "status = 'scored'"
    return rows.selectExpr(
        "grid_id",
        "grid_name",
        "injection_id",
        f"{literal(scored.checkpoint_id, 'spark')} AS checkpoint_id",
        f"{literal(scored.generation, 'spark')} AS generation",
        f"CASE WHEN {good} THEN score END AS score",
        f"CASE WHEN {good} THEN host_score END AS host_score",
        f"CASE WHEN {good} THEN 1 / (1 + exp(-score)) END AS probability",
        f"CASE WHEN {good} THEN 1 / (1 + exp(-host_score)) END AS host_probability",
        "status",
    )
