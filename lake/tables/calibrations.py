"""Contract of ``calibrations``."""

from lake.contract import columns
from lake.contract.spec import Column, Rule, TableSpec

METHODS = ("temperature", "platt", "beta", "isotonic")

SPEC = TableSpec(
    name="calibrations",
    meaning="A calibrator of one finder: the map from its logits to probabilities, and the fraction of lenses at which "
    "these hold",
    slice_by=("checkpoint_id", "generation"),
    columns=(
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        Column("method", "string", "logit P = c + a ln p - b ln(1 - p), or steps", role="key", allowed=METHODS),
        Column("fold", "string", "the objects it was fitted on"),
        Column("lenses", "bigint", "lenses of the fold", low=0),
        Column("negatives", "bigint", "negatives of the fold", low=0),
        columns.share("holds_at", "fraction of lenses at which the probabilities hold: the fold's (null: not fitted)"),
        columns.share("sky_share", "declared fraction of lenses on the sky (null: evaluate.sky_lens_share is null)"),
        Column("a", "double", "coefficient of ln p (null: isotonic, or not fitted)", nullable=True),
        Column("b", "double", "coefficient of -ln(1 - p) (null as for a)", nullable=True),
        Column("c", "double", "constant (null as for a)", nullable=True),
        Column(
            "steps",
            "string",
            "isotonic: JSON list of [logit, probability], linear between, constant outside (null: another method)",
            nullable=True,
        ),
        Column("reason", "string", "why there is none", nullable=True),
    ),
    extra_rules=(
        Rule(
            "map_or_reason",
            "(reason IS NULL) = (holds_at IS NOT NULL AND (a IS NOT NULL OR steps IS NOT NULL))",
            "'reason' must be null exactly where there is a calibrator",
        ),
    ),
)
