"""How Spark writes a table: rows judged once, fingerprinted as they are written, a slice at a time, pinned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812

from etl.tables import judge, table
from lake import tables
from lake.contract import fingerprint, rules
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import quarantine, writing
from lake.store.cards import Card
from lake.store.writing import Provenance, Target

_MOST_COLLECTED = 200_000
"""Rejected rows that this process takes into memory (about 1 kB each); more stay in Spark."""


def publish(df: DataFrame, target: Target, rejected: DataFrame | None = None, judged: int | None = None) -> Card:
    """Replace one slice of a table.

    Rows that break the contract go to ``quarantine`` with the first rule they break, and with them ``rejected``: rows
    the job itself could not use (``quarantine.COLUMNS``). Every row of ``df`` is written or quarantined, else
    LakeError. Killed anywhere and repeated it gives the same table.

    ``judged`` is for a job that has judged its rows and removed duplicates (:mod:`etl.tables.judge`): the number of
    rows of ``df``, all of them good. They are written in one pass.
    """
    spec = target.spec
    rows = judge.completed(df, spec, target.where)
    parts = [] if rejected is None else [(rejected.select(*quarantine.COLUMNS), rejected.count())]
    if judged is not None:
        return _written(rows, judged, {}, target, parts)
    with _stored(judge.judge(rows, spec, target.where)) as ruled:
        found = judge.count(ruled, spec.key)
        if found.repeated:
            ruled = _without_duplicates(ruled, spec)
        bad = judge.rejects(ruled, spec)
        parts.append((bad, found.rows - found.good))
        reasons = _reasons(bad) if found.rows > found.good else {}
        return _written(ruled.where(F.col(judge.REASON).isNull()), found.good, reasons, target, parts)


def _without_duplicates(ruled: DataFrame, spec: TableSpec) -> DataFrame:
    order, good = judge.place(spec), F.col(judge.REASON).isNull()
    shared = judge.duplicates(ruled.where(good), spec.key, order)
    changes = {judge.REASON: F.lit(rules.duplicate_reason(spec.key))}
    return judge.reject_duplicates(ruled, shared, spec.key, order, good, changes)


def _written(
    good: DataFrame, rows: int, reasons: Mapping[str, int], target: Target, parts: Sequence[tuple[DataFrame, int]]
) -> Card:
    """Write the ``rows`` good rows, fingerprinted on the way; quarantine the others; publish card and pin."""
    spec, seen = target.spec, Observation()
    observed = good.select(*spec.names).observe(seen, *judge.aggregates(spec))
    written = table.replace(observed, rows, spec, target.root, target.where, target.who)
    text = judge.fingerprinted(seen.get) if rows else fingerprint.render(0, 0, 0)
    if not text.startswith(f"{rows}:"):  # a task that Spark ran twice would be counted twice
        raise LakeError(f"'{spec.name}': {rows} rows were written, but the fingerprint is {text}; run the stage again")
    _quarantine(parts, spec.name, target.root, target.who)
    writing.report(target, rows, reasons)
    return writing.pin(target, written, text)


def _quarantine(parts: Sequence[tuple[DataFrame, int]], target: str, root: DataRoot, who: Provenance) -> None:
    """Replace what a stage has quarantined on behalf of a table; few rows without Spark, which takes seconds for it."""
    spec = tables.spec("quarantine")
    frames, rows = [frame for frame, count in parts if count], sum(count for _, count in parts)
    if rows <= _MOST_COLLECTED:
        empty = quarantine.schema().empty_table()
        quarantine.replace(
            root, target, pa.concat_tables([empty, *(f.toArrow().cast(empty.schema) for f in frames)]), who
        )
        return
    mine = quarantine.slice_of(target, who)
    whole = judge.completed(reduce(DataFrame.unionByName, frames), spec, mine).select(*spec.names)
    quarantine.pin(root, table.replace(whole, rows, spec, root, mine, who), target, rows, who)


@contextmanager
def _stored(rows: DataFrame) -> Iterator[DataFrame]:
    """Rows that are computed once and may be read several times."""
    held = rows.persist(StorageLevel.DISK_ONLY)
    try:
        yield held
    finally:
        held.unpersist()


def _reasons(bad: DataFrame) -> dict[str, int]:
    return {row["reason"]: int(row["count"]) for row in bad.groupBy("reason").count().collect()}
