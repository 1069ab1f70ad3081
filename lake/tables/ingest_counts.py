"""Contract of ``ingest_counts``."""

from __future__ import annotations

from lake.contract.spec import Column, TableSpec, lineage_columns

SPEC = TableSpec(
    name="ingest_counts",
    meaning="How many rows of an input ended where: kept, rejected by a cut, quarantined; they add up to the rows read",
    slice_by=("stage",),
    columns=(
        Column("stage", "string", "stage that read the input", role="key"),
        Column("source_file", "string", "file or table that was read", role="key"),
        Column(
            "outcome",
            "string",
            "kept, rejected, quarantined; short (rows wanted that were not there); column_missing, column_derived",
            role="key",
            allowed=("kept", "rejected", "quarantined", "short", "column_missing", "column_derived"),
        ),
        Column("reason", "string", "the cut, the broken rule, or the missing column; '' for kept", role="key"),
        Column("rows", "bigint", "how many", low=0),
        Column("sha256", "string", "hash of the file, where one was read", nullable=True),
        *lineage_columns(),
    ),
)
