"""What diagnostics say, as rows of ``diagnostics`` and ``gates``."""

from __future__ import annotations

import pyarrow as pa

from analysis.records import Outcome
from lake import tables
from pipeline.project.context import RunContext


def write_outcome(context: RunContext, outcome: Outcome, name: str) -> None:
    """Publish one run's measures and gates as the slice ``name``; the slice is also the run's identifier."""
    where = {"run_id": name}
    context.write("diagnostics", table_of("diagnostics", outcome.diagnostics_rows(name)), name, where)
    context.write("gates", table_of("gates", outcome.gates_rows(name)), name, where)


def table_of(name: str, rows: list[dict[str, object]]) -> pa.Table:
    """Rows as the named table stores them, without lineage."""
    fields = [column.arrow for column in tables.spec(name).columns if column.role != "lineage"]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))
