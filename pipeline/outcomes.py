"""What diagnostics say, as rows of ``diagnostics`` and ``gates``."""

from __future__ import annotations

import pyarrow as pa

from analysis.records import Outcome
from lake import tables
from pipeline.context import RunContext


def write_outcome(context: RunContext, outcome: Outcome, name: str) -> None:
    """Publish one run's measures and gates as the slice ``name``; the slice is also the run's identifier."""
    where = {"run_id": name}
    context.write("diagnostics", _table("diagnostics", outcome.diagnostics_rows(name)), name, where)
    context.write("gates", _table("gates", outcome.gates_rows(name)), name, where)


def _table(name: str, rows: list[dict[str, object]]) -> pa.Table:
    fields = [column.arrow for column in tables.spec(name).columns if column.role != "lineage"]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))
