"""Rows of the table `gates`, written as slices."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from lake import tables
from lake.root import DataRoot
from lake.store import cards, writing
from lake.store.writing import Provenance, Target

SPEC = tables.spec("gates")


def gate(run: str, name: str, value: float | None = 1.0) -> dict[str, object]:
    return {
        "run_id": run,
        "name": name,
        "status": "PASS",
        "value": value,
        "rule": "a rule",
        "pipeline_version": "1",
        "git_commit": "c",
        "extracted_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def rows(*values: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(values), schema=SPEC.arrow_schema())


def write(root: DataRoot, run: str, *values: dict[str, object]) -> cards.Card:
    return writing.write_slice(
        Target(root, SPEC, f"s-{run}", {"run_id": run}, Provenance("test", {"git_commit": "c"}, {})), rows(*values)
    )
