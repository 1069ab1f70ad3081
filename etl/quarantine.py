"""Rejected rows: kept with their reason, one slice of ``quarantine`` per stage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl import audit, table
from etl.pins import Provenance, pin
from lake import fingerprint, tables
from lake.cards import Card
from lake.delta import arrow_files, where_sql
from lake.errors import LakeError
from lake.root import DataRoot
from lake.spec import TableSpec

COLUMNS = ("source_file", "row_index", "reason", "record")
"""What a job says about a row it could not use."""


def quarantine(
    spark: SparkSession,
    parts: Sequence[tuple[DataFrame, int]],
    target: str,
    root: DataRoot,
    provenance: Provenance,
) -> Card:
    """Replace what a stage has quarantined on behalf of the table ``target``.

    ``parts`` are frames of ``COLUMNS``, each with its number of rows.
    """
    spec = tables.spec("quarantine")
    held = table.ensure(spark, spec, root)
    mine = {"stage": provenance.stage, "target_table": target}
    rows = sum(count for _, count in parts)
    frames = [_complete(frame, spec, mine) for frame, count in parts if count]
    if frames:
        table.replace(reduce(DataFrame.unionByName, frames), rows, spec, root, mine, provenance.note)
    elif _count(held, mine):
        spark.sql(f"DELETE FROM delta.`{table.location(root, spec.name)}` WHERE {where_sql(mine)}")
    written = table.opened(root, spec.name)
    if _count(written, mine) != rows:
        raise LakeError(f"{rows} rejected rows of '{target}' were to be quarantined, and other rows were")
    return _publish(spark, written, root, provenance)


def _publish(spark: SparkSession, written: DeltaTable, root: DataRoot, provenance: Provenance) -> Card:
    spec, where = tables.spec("quarantine"), {"stage": provenance.stage}
    text, rows = fingerprint.render(0, 0, 0), _count(written, where)
    if rows:
        held = spark.read.format("delta").option("versionAsOf", written.version())
        text = audit.fingerprinted(held.load(table.location(root, spec.name)).where(where_sql(where)), spec)
    card = Card(spec.name, provenance.stage, rows, spec.schema_hash(), text, where)
    pin(card, table.Written(written.version(), str(written.metadata().id), rows), root, provenance)
    return card


def _count(held: DeltaTable, where: dict[str, str]) -> int:
    filters = [(column, "=", value) for column, value in where.items()]
    return int(held.to_pyarrow_table(columns=["row_index"], filesystem=arrow_files(held), filters=filters).num_rows)


def _complete(rows: DataFrame, spec: TableSpec, mine: dict[str, str]) -> DataFrame:
    values = {name: F.lit(value) for name, value in mine.items()} | audit.lineage()
    values |= {name: F.col(name) for name in COLUMNS}
    return rows.select(*(values[c.name].cast(c.type).alias(c.name) for c in spec.columns))
