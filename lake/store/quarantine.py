"""Publishing rows of which some may break their contract: ``quarantine`` keeps those, each with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from lake import tables
from lake.contract import rules
from lake.contract.fingerprint import fingerprint, of_hashes, row_hashes
from lake.contract.spec import ORIGIN, TableSpec
from lake.errors import LakeError
from lake.root import DataRoot
from lake.store import writing
from lake.store.cards import Card
from lake.store.delta import arrow_files
from lake.store.writing import Provenance, Target

if TYPE_CHECKING:
    import pyarrow.dataset as ds  # imports pandas

SCHEMA = pa.schema(
    [("source_file", pa.string()), ("row_index", pa.int64()), ("reason", pa.string()), ("record", pa.string())]
)
"""Columns of rows and files that a job could not use."""


def publish(target: Target, rows: pa.Table, rejected: pa.Table | None = None) -> Card:
    """As :func:`lake.store.writing.write_slice`, but rows that break the contract are quarantined.

    With them go ``rejected``: rows the job itself could not use (``SCHEMA``).
    """
    kept, broken = rules.audit(target.spec, rows, target.where)
    table = writing.replace(target.root, target.spec, kept, target.where, target.who)
    refused = rows_of(target.spec, broken)
    if rejected is not None:
        refused = pa.concat_tables([refused, rejected.select(refused.column_names).cast(refused.schema)])
    replace(target.root, target.spec.name, refused, target.who)
    counts = broken["broken_rule"].value_counts().to_pylist()
    writing.report(target, kept.num_rows, {count["values"]: count["counts"] for count in counts})
    return writing.pin(target, table, fingerprint(kept, target.spec))


def rows_of(spec: TableSpec, rejected: pa.Table) -> pa.Table:
    """Rejected rows of a table (:func:`lake.contract.rules.audit`) with their origin, and their values as JSON."""
    values = [column.name for column in spec.columns if column.role != "lineage"]
    found = [
        {
            "source_file": row[ORIGIN[0]] if spec.has_origin else f"(rows of {spec.name})",
            "row_index": row[ORIGIN[1]] if spec.has_origin else -1,
            "reason": row["broken_rule"],
            "record": _record({name: row[name] for name in values}),
        }
        for row in rejected.to_pylist()
    ]
    return pa.Table.from_pylist(found, schema=SCHEMA)


def replace(root: DataRoot, target: str, rows: pa.Table, who: Provenance) -> Card:
    """Replace the rows that a stage has quarantined for the table ``target`` by ``rows`` (``SCHEMA``)."""
    spec, mine = tables.spec("quarantine"), slice_of(target, who)
    table = writing.made(root, spec)
    if rows.num_rows or _held(table, mine).count_rows():
        table = writing.replace(root, spec, rules.conform(spec, rows, mine), mine, who)
    return pin(root, table, target, rows.num_rows, who)


def slice_of(target: str, who: Provenance) -> dict[str, str]:
    """Predicate of the rows that a stage quarantines for a table."""
    return {"stage": who.stage, "target_table": target}


def pin(root: DataRoot, table: DeltaTable, target: str, rows: int, who: Provenance) -> Card:
    """Publish card and pin of all that the stage has quarantined; ``rows`` of these rows are for ``target``."""
    spec, where = tables.spec("quarantine"), {"stage": who.stage}
    if _held(table, slice_of(target, who)).count_rows() != rows:
        raise LakeError(
            f"the rows just quarantined are not the {rows} rejected rows of '{target}': run the stage again"
        )
    batches = _held(table, where).to_batches()
    hashes = [row_hashes(rules.conform(spec, pa.Table.from_batches([batch])), spec) for batch in batches]
    text = of_hashes(np.concatenate([np.empty(0, dtype=np.int64), *hashes]))
    return writing.pin(Target(root, spec, who.stage, where, who), table, text)


def _held(table: DeltaTable, where: Mapping[str, str]) -> ds.Dataset:
    """The rows that meet ``where``."""
    condition = reduce(and_, (pc.field(column) == value for column, value in where.items()))
    return table.to_pyarrow_dataset(filesystem=arrow_files(table)).filter(condition)


def _record(values: Mapping[str, object]) -> str:
    """Values as JSON, without nulls; numbers that JSON lacks as text."""
    odd = {n: str(v) for n, v in values.items() if isinstance(v, float) and not math.isfinite(v)}
    return json.dumps({name: odd.get(name, value) for name, value in values.items() if value is not None})
