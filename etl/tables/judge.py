"""Judging rows against their table's contract, in Spark."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F  # noqa: N812

from etl.tables.table import literal
from lake import provenance
from lake.contract import fingerprint
from lake.contract.spec import TableSpec
from lake.errors import ContractError

SOURCE_FILE, ROW_INDEX, REASON, PLACE = "_source_file", "_row_index", "_reason", "_place"
_KEPT = "_kept"
_ORIGIN_COLUMNS = ((SOURCE_FILE, ROW_INDEX), ("sweep_file", "row_index"))


@dataclass(frozen=True)
class Tally:
    """Rows judged: how many were good, how many broke which rule, and the fingerprint of the good ones."""

    good: int
    rejected: Mapping[str, int]
    fingerprint: str


def judge(df: DataFrame, spec: TableSpec, where: Mapping[str, str]) -> DataFrame:
    """The rows with the contract's columns and types, their origin, and in ``_reason`` the first rule each breaks.

    ``df`` may carry ``_source_file`` and ``_row_index`` in addition to the contract's columns to say where a row came
    from; otherwise ``sweep_file`` and ``row_index`` do. Lineage columns and the columns of the slice are filled in
    where ``df`` lacks them.
    """
    file, row = _origin(df, spec)
    columns = [F.col(c.name).cast(c.type).alias(c.name) for c in spec.columns]
    typed = _complete(df, spec, where).select(*columns, file.alias(SOURCE_FILE), row.alias(ROW_INDEX))
    place = F.monotonically_increasing_id().alias(PLACE)
    return typed.select("*", F.expr(reason_sql(spec, where)).alias(REASON), place, _never_cached_twice())


def duplicates(judged: DataFrame, spec: TableSpec) -> DataFrame:
    """Keys that several good rows share, with the place of the row to keep: lowest (file, row), or by content where
    a row has no origin."""
    content = F.when(F.col(ROW_INDEX) < 0, F.expr(fingerprint.row_hash_sql(spec)))
    order = F.struct(SOURCE_FILE, ROW_INDEX, content.alias("content"), PLACE)
    shared = (
        judged.where(F.col(REASON).isNull())
        .groupBy(*spec.key)
        .agg(F.count("*").alias("n"), F.min(order).alias("first"))
    )
    return shared.where("n > 1").select(*spec.key, F.col(f"first.{PLACE}").alias(_KEPT))


def reject_duplicates(judged: DataFrame, shared: DataFrame, spec: TableSpec) -> DataFrame:
    """Judged rows, with the reason of those whose key another row keeps."""
    surplus = F.col(REASON).isNull() & F.col(_KEPT).isNotNull() & (F.col(PLACE) != F.col(_KEPT))
    reason = F.when(surplus, f"duplicate key ({', '.join(spec.key)})").otherwise(F.col(REASON))
    return judged.join(shared, on=list(spec.key), how="left").withColumn(REASON, reason).select(*judged.columns)


def tally(judged: DataFrame, spec: TableSpec) -> Tally:
    """Count and fingerprint judged rows in one pass."""
    groups = {row[REASON]: row for row in judged.groupBy(REASON).agg(*_aggregates(spec)).collect()}
    good = groups.pop(None, None)
    rejected = {reason: int(row["n"]) for reason, row in sorted(groups.items())}
    return Tally(int(good["n"]), rejected, _render(good)) if good else Tally(0, rejected, fingerprint.render(0, 0, 0))


def fingerprinted(rows: DataFrame, spec: TableSpec) -> str:
    """The fingerprint of rows that meet the contract."""
    return _render(rows.agg(*_aggregates(spec)).collect()[0])


def rejects(judged: DataFrame, spec: TableSpec) -> DataFrame:
    """The rejected rows with where they came from, their reason and their values as JSON."""
    values = F.to_json(F.struct(*(c.name for c in spec.columns if c.role != "lineage")))
    return judged.where(F.col(REASON).isNotNull()).select(
        F.col(SOURCE_FILE).alias("source_file"),
        F.col(ROW_INDEX).alias("row_index"),
        F.col(REASON).alias("reason"),
        values.alias("record"),
    )


def reason_sql(spec: TableSpec, where: Mapping[str, str]) -> str:
    """Spark SQL: the first rule a row breaks, in words, or NULL."""
    tests = [(f"{c} <=> {literal(v)}", f"'{c}' must be {v}, the slice being written") for c, v in sorted(where.items())]
    tests += [(rule.sql, rule.text) for rule in spec.rules()]
    if not tests:
        return "cast(NULL as string)"
    return "CASE " + " ".join(f"WHEN NOT ({sql}) THEN {literal(text)}" for sql, text in tests) + " END"


def lineage() -> dict[str, Column]:
    """The lineage columns of rows written now."""
    return {
        "pipeline_version": F.lit(provenance.pipeline_version()),
        "git_commit": F.lit(provenance.git_commit()),
        "extracted_at": F.current_timestamp(),
    }


def _complete(df: DataFrame, spec: TableSpec, where: Mapping[str, str]) -> DataFrame:
    known = {name: F.lit(value) for name, value in where.items()} | lineage()
    given = df.columns
    filled = [known[n].alias(n) for n in spec.names if n in known and n not in given]
    missing = [name for name in spec.names if name not in given and name not in known]
    unknown = [name for name in given if name not in (*spec.names, SOURCE_FILE, ROW_INDEX)]
    if missing or unknown:
        raise ContractError(f"'{spec.name}': columns missing {missing}, not in the contract {unknown}")
    return df.select("*", *filled)


def _origin(df: DataFrame, spec: TableSpec) -> tuple[Column, Column]:
    for file, row in _ORIGIN_COLUMNS:
        if file in df.columns and row in df.columns:
            return F.col(file).cast("string"), F.col(row).cast("bigint")
    return F.lit(f"(rows of {spec.name})"), F.lit(-1).cast("bigint")


def _never_cached_twice() -> Column:
    """A literal that makes each judged frame's plan its own.

    A server shares cached frames between sessions by equality of plans, and plans over the same paths are equal even
    when the files changed: without it a second run could read what a killed one had cached.
    """
    return F.lit(uuid.uuid4().hex).alias("_plan")


def _aggregates(spec: TableSpec) -> list[Column]:
    names = ("n", "total", "bits")
    return [F.expr(sql).alias(name) for sql, name in zip(fingerprint.sql_expressions(spec), names, strict=True)]


def _render(row: Row) -> str:
    return fingerprint.render(int(row["n"]), int(row["total"]), int(row["bits"]))
