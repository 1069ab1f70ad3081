"""How Spark writes a table: rows judged once, fingerprinted as they are written, a slice at a time, pinned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F  # noqa: N812

from etl.tables import judge, table
from lake import tables
from lake.contract import fingerprint
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
    the job itself could not use (``quarantine.SCHEMA``). Every row of ``df`` is written or quarantined, else
    LakeError. Killed anywhere and repeated it gives the same table.

    ``judged`` is for a job that has judged its rows and removed duplicates (:mod:`etl.tables.judge`): the number of
    rows of ``df``, all of them good. They are written in one pass.
    """
    spec = target.spec
    rows = judge.completed(df, spec, target.where)
    parts = [] if rejected is None else [(rejected.select(*quarantine.SCHEMA.names), rejected.count())]
    if judged is not None:
        return _written(rows, judged, {}, target, parts)
    stored = ruled = judge.judge(rows, spec, target.where).persist(StorageLevel.DISK_ONLY)
    try:
        found = judge.count(ruled, spec.key)
        if found.repeated:
            ruled = judge.unique(ruled, spec.key, judge.place(spec))
        bad = judge.rejects(ruled, spec)
        parts.append((bad, found.rows - found.good))
        counts = bad.groupBy("reason").count().collect() if found.rows > found.good else []
        reasons = {row["reason"]: int(row["count"]) for row in counts}
        return _written(ruled.where(F.col(judge.REASON).isNull()), found.good, reasons, target, parts)
    finally:
        stored.unpersist()


def _written(
    good: DataFrame, rows: int, reasons: Mapping[str, int], target: Target, parts: Sequence[tuple[DataFrame, int]]
) -> Card:
    """Write the ``rows`` good rows, fingerprinted on the way; quarantine the others; publish card and pin."""
    spec, seen = target.spec, Observation()
    observed = good.select(*spec.names).observe(seen, *judge.aggregates(spec))
    written = table.replace(observed, rows, spec, target.root, target.where, target.who)
    text = fingerprint.render(**seen.get) if rows else fingerprint.render(0, 0, 0)
    if not text.startswith(f"{rows}:"):  # a task that Spark ran twice would be counted twice
        raise LakeError(f"'{spec.name}': {rows} rows were written, but the fingerprint is {text}; run the stage again")
    _quarantine(parts, spec.name, target.root, target.who)
    writing.report(target, rows, reasons)
    return writing.pin(target, written, text)


def _quarantine(parts: Sequence[tuple[DataFrame, int]], target: str, root: DataRoot, who: Provenance) -> None:
    """Replace the rows that a stage has quarantined for a table; few rows without Spark, which takes seconds for it."""
    spec = tables.spec("quarantine")
    frames, rows = [frame for frame, count in parts if count], sum(count for _, count in parts)
    if rows <= _MOST_COLLECTED:
        collected = [quarantine.SCHEMA.empty_table(), *(table.arrow(frame).cast(quarantine.SCHEMA) for frame in frames)]
        quarantine.replace(root, target, pa.concat_tables(collected), who)
        return
    mine = quarantine.slice_of(target, who)
    whole = judge.completed(reduce(DataFrame.unionByName, frames), spec, mine).select(*spec.names)
    quarantine.pin(root, table.replace(whole, rows, spec, root, mine, who), target, rows, who)
