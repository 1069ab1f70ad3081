"""Contract of ``import_disagreements``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="import_disagreements",
    meaning="A figure of an imported file that does not follow from its own counts, with what does",
    slice_by=("import_name",),
    columns=(
        columns.IMPORT_NAME,
        Column("number", "bigint", "place in the list", role="key", low=1),
        Column("row_index", "bigint", "line of the file, the header being 1; -1: of no single line", low=-1),
        Column("cell", "string", "cell (null: of no single cell)", nullable=True),
        Column("threshold_id", "string", "threshold (null: of no single threshold)", nullable=True),
        Column("source_mag_bin", "string", "magnitude bin (null: of no single bin)", nullable=True),
        Column("figure", "string", "what disagrees: a column of the file, or meta:<key>"),
        Column("stated", "double", "value in the file (null: none)", nullable=True),
        Column("expected", "double", "value that follows from the counts (null: none)", nullable=True),
        Column("explanation", "string", "what was compared, and how the stated value may have been made"),
    ),
)
