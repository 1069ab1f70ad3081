"""Rejected rows: kept with their reason, one slice of ``quarantine`` per stage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl.tables import judge, table
from etl.tables.pins import Provenance, pin
from lake import tables
from lake.contract import fingerprint
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store.cards import Card
from lake.store.delta import arrow_files, replace, storage_options, where_sql

_MOST_COLLECTED = 200_000
"""Rejected rows that this process takes into memory (about 1 kB each); more stay in Spark."""
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
    mine = {"stage": provenance.stage, "target_table": target}
    rows = sum(count for _, count in parts)
    frames = [_complete(frame, spec, mine) for frame, count in parts if count]
    if rows <= _MOST_COLLECTED:
        written = _write_collected(frames, mine, root, provenance)
    else:
        written = _write(reduce(DataFrame.unionByName, frames), rows, mine, root, provenance)
    if _held(written, mine).num_rows != rows:
        raise LakeError(f"{rows} rejected rows of '{target}' were to be quarantined, and other rows were")
    return _publish(spark, written, root, provenance)


def _write_collected(
    frames: Sequence[DataFrame], mine: dict[str, str], root: DataRoot, provenance: Provenance
) -> DeltaTable:
    """Few rows, written without Spark, which takes seconds for it."""
    spec = tables.spec("quarantine")
    schema = spec.arrow_schema()
    rows = pa.concat_tables([frame.toArrow().cast(schema) for frame in frames]) if frames else schema.empty_table()
    uri = root.table(spec.name)
    if not frames and DeltaTable.is_deltatable(uri, storage_options=storage_options()):
        held = table.opened(root, spec.name)
        if not _held(held, mine).num_rows:
            return held
    return replace(root, spec, rows, mine, provenance.note)


def _write(frame: DataFrame, rows: int, mine: dict[str, str], root: DataRoot, provenance: Provenance) -> DeltaTable:
    spec = tables.spec("quarantine")
    table.replace(frame, rows, spec, root, mine, provenance.note)
    return table.opened(root, spec.name)


def _publish(spark: SparkSession, written: DeltaTable, root: DataRoot, provenance: Provenance) -> Card:
    """Card and pin of all that the stage has quarantined."""
    spec, where = tables.spec("quarantine"), {"stage": provenance.stage}
    rows = _held(written, where).num_rows
    if rows <= _MOST_COLLECTED:
        text = fingerprint.fingerprint(_held(written, where, spec.names).cast(spec.arrow_schema()), spec)
    else:
        held = spark.read.format("delta").option("versionAsOf", written.version())
        text = judge.fingerprinted(held.load(table.location(root, spec.name)).where(where_sql(where)), spec)
    card = Card(spec.name, provenance.stage, rows, spec.schema_hash(), text, where)
    pin(card, table.Written(written.version(), str(written.metadata().id), rows), root, provenance)
    return card


def _held(held: DeltaTable, where: dict[str, str], columns: Sequence[str] = ("row_index",)) -> pa.Table:
    """Columns of the rows that meet ``where``."""
    filters = [(column, "=", value) for column, value in where.items()]
    return held.to_pyarrow_table(columns=list(columns), filesystem=arrow_files(held), filters=filters)


def _complete(rows: DataFrame, spec: TableSpec, mine: dict[str, str]) -> DataFrame:
    values = {name: F.lit(value) for name, value in mine.items()} | judge.lineage()
    values |= {name: F.col(name) for name in COLUMNS}
    return rows.select(*(values[c.name].cast(c.type).alias(c.name) for c in spec.columns))
