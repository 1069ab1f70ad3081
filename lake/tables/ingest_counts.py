"""Contract of ``ingest_counts``."""

from lake.contract.spec import Column, TableSpec

OUTCOMES = ("kept", "rejected", "quarantined", "short", "column_missing", "column_derived")

SPEC = TableSpec(
    name="ingest_counts",
    meaning="How many rows of an input ended where: kept, rejected by a cut, quarantined; they add up to the rows read",
    slice_by=("stage",),
    columns=(
        Column("stage", "string", "stage that read the input", role="key"),
        Column("source_file", "string", "file or table that was read", role="key"),
        Column(
            "outcome", "string", "what became of the rows; short: wanted, but missing", role="key", allowed=OUTCOMES
        ),
        Column("reason", "string", "the cut, the broken rule, or the missing column; '' for kept", role="key"),
        Column("rows", "bigint", "how many", low=0),
        Column("sha256", "string", "hash of the file, where one was read", nullable=True),
    ),
)
