"""Contract of ``injection_scores``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="injection_scores",
    meaning="One model's score of one injection and of its bare host",
    engine="spark",
    slice_by=("grid_id", "checkpoint_id", "generation"),
    columns=(
        columns.GRID_ID,
        columns.GRID_NAME,
        Column("injection_id", "string", "the injection within its grid", role="key"),
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        Column("score", "double", "raw logit of host plus arc", nullable=True),
        Column("host_score", "double", "raw logit of the bare host", nullable=True),
        Column("probability", "double", "logistic of the score; not calibrated", nullable=True, low=0, high=1),
        Column("host_probability", "double", "logistic of the host's score", nullable=True, low=0, high=1),
        Column("status", "string", "scored, or failed and in no denominator", allowed=("scored", "failed")),
    ),
)
