"""Contract of ``gates``."""

from lake.contract.spec import Column, TableSpec

STATUSES = ("PASS", "WARN", "FAIL", "GO", "NO-GO", "BORDERLINE", "NOT MEASURED")

SPEC = TableSpec(
    name="gates",
    meaning="One decision of one diagnostic run",
    slice_by=("run_id",),
    columns=(
        Column("run_id", "string", "the run that decided", role="key"),
        Column("name", "string", "the gate", role="key"),
        Column("status", "string", "the decision", allowed=STATUSES),
        Column("value", "double", "measured value", nullable=True),
        Column("low", "double", "lower end of the 95 % interval", nullable=True),
        Column("high", "double", "upper end of the 95 % interval", nullable=True),
        Column("threshold", "double", "the gate's threshold", nullable=True),
        Column("rule", "string", "the rule in words"),
    ),
)
