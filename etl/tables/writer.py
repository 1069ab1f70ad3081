"""The only way Spark writes a table: audited, a whole slice at a time, counted, pinned."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from etl.tables import judge, table
from etl.tables.pins import Provenance, pin
from etl.tables.quarantine import COLUMNS, quarantine
from lake.contract.spec import TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import cards
from lake.store.cards import Card

log = logging.getLogger(__name__)


def publish(
    df: DataFrame,
    spec: TableSpec,
    root: DataRoot,
    slice_name: str | None,
    where: Mapping[str, str],
    provenance: Provenance,
    rejected: DataFrame | None = None,
) -> Card:
    """Replace one slice of a table: the rows that meet ``where``, or the whole table where it has no ``slice_by``.

    Rows that break the contract go to ``quarantine`` with the first rule they break, and with them ``rejected``: rows
    the job itself could not use (columns source_file, row_index, reason, record). Every row of ``df`` is written or
    quarantined, else LakeError. Killed anywhere and repeated it gives the same table.
    """
    if set(where) != set(spec.slice_by):
        raise LakeError(f"a slice of '{spec.name}' is given by {list(spec.slice_by)}, got {sorted(where)}")
    with _stored(judge.judge(df, spec, where)) as judged, _stored(judge.duplicates(judged, spec)) as shared:
        rows = judged if shared.isEmpty() else judge.reject_duplicates(judged, shared, spec)
        counts = judge.tally(rows, spec)
        good = rows.where(F.col(judge.REASON).isNull()).select(*spec.names)
        written = table.replace(good, counts.good, spec, root, where, provenance.note)
        if written.rows != counts.good:
            raise LakeError(f"'{spec.name}': {counts.good} rows were to be written and {written.rows} were")
        parts = [(judge.rejects(rows, spec), sum(counts.rejected.values()))]
        if rejected is not None:
            parts.append((rejected.select(*COLUMNS), rejected.count()))
        quarantine(df.sparkSession, parts, spec.name, root, provenance)
    card = Card(spec.name, slice_name, counts.good, spec.schema_hash(), counts.fingerprint, dict(where))
    pin(card, written, root, provenance)
    _report(card, counts)
    return card


@contextmanager
def _stored(rows: DataFrame) -> Iterator[DataFrame]:
    """Rows that are computed once, however often they are read."""
    held = rows.persist(StorageLevel.DISK_ONLY)
    try:
        yield held
    finally:
        held.unpersist()


def _report(card: Card, counts: judge.Tally) -> None:
    log.info("%s: %d rows written", cards.stem(card.table, card.slice), counts.good)
    for reason, rows in counts.rejected.items():
        log.warning("%s: %d rows quarantined: %s", cards.stem(card.table, card.slice), rows, reason)
