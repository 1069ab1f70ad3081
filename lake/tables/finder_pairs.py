"""Contract of ``finder_pairs``."""

from lake.contract.spec import Column, TableSpec

SPEC = TableSpec(
    name="finder_pairs",
    meaning="Two finders, same trials: what the other would change, and whether the ceiling is the first one's own",
    slice_by=("generation",),
    columns=(
        Column("generation", "string", "the finder that is judged", role="key"),
        Column("other", "string", "the finder it is compared with", role="key"),
        Column(
            "quantity",
            "string",
            "ceiling, other_ceiling: largest share of bright arcs over the bins; ceiling_change: of the share of all, "
            "other minus this; network: completeness, other minus this, a term of the gap budget",
            role="key",
            allowed=("ceiling", "other_ceiling", "ceiling_change", "network"),
        ),
        Column("threshold_id", "string", "threshold, each finder at its own value", role="key"),
        Column("value", "double", "per cent, or points of a change (null: not measurable)", "%", nullable=True),
        Column("low", "double", "95 % interval, low end", "%", nullable=True),
        Column("high", "double", "95 % interval, high end", "%", nullable=True),
        Column("n", "bigint", "trials that both scored", low=0),
        Column(
            "verdict",
            "string",
            "of other_ceiling: GO, the ceiling is the finder's own; NO-GO, it is the sources'",
            nullable=True,
            allowed=("GO", "NO-GO", "BORDERLINE", "NOT MEASURED"),
        ),
        Column("method", "string", "how it was measured, or why not", nullable=True),
    ),
)
