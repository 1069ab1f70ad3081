"""Contract of ``scores``."""

from lake.contract import columns
from lake.contract.spec import Column, TableSpec
from lake.sky.split import NEGATIVE_USES

SPEC = TableSpec(
    name="scores",
    meaning="One model's score of one cut-out",
    slice_by=("checkpoint_id", "generation"),
    columns=(
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        columns.GALAXY_ID,
        Column("cutout_version", "string", "version of the cut-out", role="key"),
        Column("manifest_id", "string", "manifest the cut-out was taken from"),
        columns.SPLIT,
        Column("label", "int", "1 lens candidate, 0 negative", low=0, high=1),
        Column("score", "double", "raw logit"),
        Column("probability", "double", "logistic of the raw logit; not calibrated", low=0, high=1),
        Column(
            "seen_in_training",
            "boolean",
            "the model or an ancestor trained or selected on it (null: not known)",
            nullable=True,
        ),
        Column("trained_on", "boolean", "the model or an ancestor trained on it (null: not known)", nullable=True),
        Column(
            "negative_use",
            "string",
            "use of a negative outside the training split: fixing thresholds, host of injections, or test negative",
            nullable=True,
            allowed=NEGATIVE_USES,
        ),
    ),
)
