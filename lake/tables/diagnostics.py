"""Contract of ``diagnostics``."""

from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="diagnostics",
    meaning="One measured quantity of one diagnostic run",
    slice_by=("run_id",),
    columns=(
        Column("run_id", "string", "the run that measured it", role="key"),
        Column("name", "string", "the quantity, with its group: recall/tier_A/p0.3", role="key"),
        Column("diagnostic", "string", "which diagnostic it belongs to"),
        Column("value", "double", "measured value (null: not defined on these data)", nullable=True),
        Column("low", "double", "lower end of the 95 % interval", nullable=True),
        Column("high", "double", "upper end of the 95 % interval", nullable=True),
        Column("n", "bigint", "objects it was measured on", nullable=True, low=0),
        Column("unit", "string", "unit of the value", nullable=True),
        Column("method", "string", "estimator and interval", nullable=True),
    ),
)
