"""Contract of ``findings``."""

from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="findings",
    meaning="What one diagnostic of a run found, in words",
    slice_by=("run_id",),
    columns=(
        Column("run_id", "string", "the run that measured it", role="key"),
        Column("diagnostic", "string", "the diagnostic", role="key"),
        Column("finding", "string", "the finding with its figures, and what it means"),
    ),
)
