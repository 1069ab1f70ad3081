"""Rejected rows: kept with their reason, one slice of ``quarantine`` per stage."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from etl import audit, table
from etl.pins import Provenance, pin
from lake import fingerprint, tables
from lake.cards import Card
from lake.delta import where_sql
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
    uri = table.location(root, spec.name)
    table.ensure(spark, spec, uri)
    mine = {"stage": provenance.stage, "target_table": target}
    frames = [_complete(frame, spec, mine) for frame, rows in parts if rows]
    if frames:
        table.replace(reduce(DataFrame.unionByName, frames), spec, root, mine, provenance.note)
    elif not _held(spark, uri).where(where_sql(mine)).isEmpty():
        spark.sql(f"DELETE FROM delta.`{uri}` WHERE {where_sql(mine)}")
    return _publish(spark, spec, target, sum(rows for _, rows in parts), root, provenance)


def _publish(
    spark: SparkSession, spec: TableSpec, target: str, expected: int, root: DataRoot, provenance: Provenance
) -> Card:
    uri, where = table.location(root, spec.name), {"stage": provenance.stage}
    version, table_id = table.head(spark, uri)
    names = ("n", "total", "bits", "mine")
    sql = (*fingerprint.sql_expressions(spec), f"count_if(target_table = {table.literal(target)})")
    rows = _held(spark, uri).where(where_sql(where))
    tally = rows.agg(*(F.expr(e).alias(n) for e, n in zip(sql, names, strict=True))).collect()[0]
    if tally["mine"] != expected:
        raise LakeError(f"{expected} rejected rows of '{target}' were to be quarantined and {tally['mine']} were")
    text = fingerprint.render(tally["n"], int(tally["total"]), tally["bits"])
    card = Card(spec.name, provenance.stage, tally["n"], spec.schema_hash(), text, where)
    pin(card, table.Written(version, table_id, tally["n"]), root, provenance)
    return card


def _held(spark: SparkSession, uri: str) -> DataFrame:
    return spark.read.format("delta").load(uri)


def _complete(rows: DataFrame, spec: TableSpec, mine: dict[str, str]) -> DataFrame:
    values = {name: F.lit(value) for name, value in mine.items()} | audit.lineage()
    values |= {name: F.col(name) for name in COLUMNS}
    return rows.select(*(values[c.name].cast(c.type).alias(c.name) for c in spec.columns))
