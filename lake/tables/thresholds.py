"""Contract of ``thresholds``."""

from lake.contract import columns
from lake.contract.spec import Column, Rule, TableSpec

STATUSES = ("fixed", "measured", "not measurable", "not selective", "refused")
_UNLESS = " (null: no range is declared in evaluate.unlisted_lenses_per_negative)"

SPEC = TableSpec(
    name="thresholds",
    meaning="A threshold of one finder: the negatives that fix it, and the false-positive rate it reaches on others",
    slice_by=("checkpoint_id", "generation"),
    columns=(
        columns.CHECKPOINT_ID,
        columns.GENERATION,
        Column("threshold_id", "string", "p0.3: chosen; fpr1e-3@val: fixed on validation negatives", role="key"),
        Column(
            "status",
            "string",
            "fixed: chosen beforehand; measured: derived; not measurable: too few negatives to derive it, or ties; "
            "not selective: chosen beforehand, and too many negatives exceed it; refused: the finder trained or "
            "selected on the test negatives",
            allowed=STATUSES,
        ),
        columns.share("threshold", "selected above this probability (null: see reason)"),
        columns.share("target_fpr", "false-positive rate asked for (null: chosen beforehand)"),
        Column("negatives", "bigint", "validation negatives kept for thresholds", low=0),
        Column("above", "bigint", "of those, above the threshold (null: no threshold)", nullable=True, low=0),
        Column("negatives_needed", "bigint", "for ten above it (null: chosen beforehand)", nullable=True, low=0),
        Column("test_negatives", "bigint", "test negatives, which fix no threshold and are not hosts", low=0),
        Column("test_above", "bigint", "of those, above the threshold (null: no threshold)", nullable=True, low=0),
        columns.share("fpr_reached", "test_above / test_negatives"),
        *columns.interval("fpr", "Clopper-Pearson 95 % interval of fpr_reached"),
        Column("lenses_low", "bigint", f"fewest unlisted lenses among `negatives`{_UNLESS}", nullable=True, low=0),
        Column("lenses_high", "bigint", f"most unlisted lenses among `negatives`{_UNLESS}", nullable=True, low=0),
        columns.share("threshold_low", f"lowest threshold at target_fpr, if up to lenses_high are lenses{_UNLESS}"),
        columns.share("threshold_high", f"highest threshold at target_fpr, if up to lenses_high are lenses{_UNLESS}"),
        Column("test_lenses_high", "bigint", f"most of the same among test_negatives{_UNLESS}", nullable=True, low=0),
        *columns.interval("fpr_unlisted", "fpr_reached, if up to test_lenses_high are lenses", _UNLESS),
        *columns.interval("fpr_unlisted_bound", "Clopper-Pearson 95 % bounds of the ends of fpr_unlisted", _UNLESS),
        Column("reason", "string", "why it is not measurable, or refused", nullable=True),
    ),
    extra_rules=(
        Rule(
            "threshold_or_reason",
            "(status IN ('not measurable', 'refused') AND threshold IS NULL AND reason IS NOT NULL) "
            "OR (status NOT IN ('not measurable', 'refused') AND threshold IS NOT NULL)",
            "'threshold' must be null, with a reason, exactly when its status is 'not measurable' or 'refused'",
        ),
    ),
)
