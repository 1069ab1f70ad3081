"""Contract of ``quarantine``."""

from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="quarantine",
    meaning="A row or file that could not be used, with the reason; nothing is lost silently",
    slice_by=("stage",),
    columns=(
        Column("stage", "string", "stage and slice that rejected it", role="key"),
        Column("source_file", "string", "file or table it came from", role="key"),
        Column("row_index", "bigint", "row in the source; -1 for a whole file", role="key", low=-1),
        Column("target_table", "string", "table it was meant for", role="key"),
        Column("reason", "string", "the rule it breaks"),
        Column("record", "string", "its key and values as JSON", nullable=True),
    ),
)
