"""Judging rows against their table's contract, in Spark."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from lake import provenance
from lake.contract import fingerprint, rules
from lake.contract.spec import ORIGIN, TableSpec

REASON = "_reason"
_PLACE, _KEPT = "_place", "_kept"


@dataclass(frozen=True)
class Count:
    """Rows judged, and how many of them are good once each key is kept once."""

    rows: int
    good: int
    repeated: int
    """Keys that several good rows share."""


def completed(df: DataFrame, spec: TableSpec, where: Mapping[str, str]) -> DataFrame:
    """The rows with the contract's columns and types; lineage and the columns of the slice are filled in if missing."""
    known = {n: F.lit(v) for n, v in {**where, **provenance.lineage()}.items() if n in spec.names}
    values = {**known, **{name: F.col(name) for name in df.columns}}
    rules.require_names(spec, list(values))
    return df.select(*(values[c.name].cast(c.type).alias(c.name) for c in spec.columns))


def judge(rows: DataFrame, spec: TableSpec, where: Mapping[str, str]) -> DataFrame:
    """Completed rows, and in ``_reason`` the first rule each breaks.

    A server shares cached frames between sessions by equality of plans, and plans over the same paths are equal even
    when the files changed: ``_plan`` makes each judged frame's plan its own.
    """
    reason = F.expr(rules.reason_sql(spec, "spark", where)).alias(REASON)
    plan = F.lit(uuid.uuid4().hex).alias("_plan")
    return rows.select("*", reason, F.monotonically_increasing_id().alias(_PLACE), plan)


def count(judged: DataFrame, key: Sequence[str]) -> Count:
    """Count judged rows, and the keys of the good ones, in one pass."""
    good = F.expr(f"count_if({REASON} IS NULL)")
    keys = judged.groupBy(*key).agg(F.count(F.lit(1)).alias("n"), good.alias("good"))
    sums = ("coalesce(sum(n), 0)", "count_if(good > 0)", "count_if(good > 1)")
    return Count(*(int(value) for value in keys.agg(*map(F.expr, sums)).collect()[0]))


def place(spec: TableSpec) -> Column:
    """Order of rows with one key, of which the first is kept: by (file, row), or by content if there is no origin."""
    content = F.expr(fingerprint.row_hash_sql(spec)).alias("content")
    return F.struct(*(ORIGIN if spec.has_origin else (content,)), _PLACE)


def duplicates(good: DataFrame, key: Sequence[str], order: Column) -> DataFrame:
    """Keys that several good rows share, with the ``order`` of the row to keep, the lowest."""
    return good.groupBy(*key).agg(F.count("*").alias("n"), F.min(order).alias(_KEPT)).where("n > 1").drop("n")


def reject_duplicates(
    rows: DataFrame, shared: DataFrame, key: Sequence[str], order: Column, good: Column, changes: Mapping[str, Column]
) -> DataFrame:
    """Rows with ``changes`` to the columns of those among the ``good`` whose key another row keeps."""
    surplus = good & F.col(_KEPT).isNotNull() & ~order.eqNullSafe(F.col(_KEPT))
    joined = rows.join(shared, on=list(key), how="left")
    changed = {name: F.when(surplus, value).otherwise(F.col(name)) for name, value in changes.items()}
    return joined.withColumns(changed).select(*rows.columns)


def unique(judged: DataFrame, key: Sequence[str], order: Column) -> DataFrame:
    """Judged rows; a good one gets a reason if its key is that of a good row that is earlier in the ``order``."""
    good, reason = F.col(REASON).isNull(), F.lit(rules.duplicate_reason(key))
    return reject_duplicates(judged, duplicates(judged.where(good), key, order), key, order, good, {REASON: reason})


def aggregates(spec: TableSpec) -> list[Column]:
    """The aggregates by name whose values :func:`lake.contract.fingerprint.render` takes."""
    return [F.expr(sql).alias(name) for name, sql in fingerprint.sql_expressions(spec).items()]


def rejects(judged: DataFrame, spec: TableSpec) -> DataFrame:
    """The rejected rows with where they came from, their reason and their values as JSON (``quarantine.SCHEMA``)."""
    origin = ORIGIN if spec.has_origin else (f"'(rows of {spec.name})'", "-1L")
    values = F.to_json(F.struct(*(c.name for c in spec.columns if c.role != "lineage")))
    return judged.where(F.col(REASON).isNotNull()).select(
        F.expr(origin[0]).alias("source_file"),
        F.expr(origin[1]).alias("row_index"),
        F.col(REASON).alias("reason"),
        values.alias("record"),
    )
