"""The view ``calibrated_scores``: probabilities of scored cut-outs, and where lenses are as frequent as they take."""

from __future__ import annotations

from dataclasses import replace

from lake.contract import columns
from lake.contract.spec import Column
from lake.store.axisviews import ViewSpec

NEEDS = ("scores", "calibrations")
_LN_P = "(least(s.score, 0e0) - ln(1e0 + exp(-abs(s.score))))"
_LN_Q = "(-greatest(s.score, 0e0) - ln(1e0 + exp(-abs(s.score))))"
_LOGIT = f"k.c + k.a * {_LN_P} - k.b * {_LN_Q}"
_OFFSET = "ln(sky_share / (1e0 - sky_share)) - ln(holds_at / (1e0 - holds_at))"


def _probability(logit: str) -> str:
    return f"1e0 / (1e0 + exp(-greatest(least({logit}, 7e2), -7e2)))"


SQL = f"""SELECT galaxy_id, generation, checkpoint_id, method, split, label, score, probability,
{_probability("calibrated_logit")} AS calibrated, holds_at,
{_probability(f"calibrated_logit + {_OFFSET}")} AS sky_probability, sky_share
FROM (SELECT s.galaxy_id, s.generation, s.checkpoint_id, k.method, s.split, s.label, s.score, s.probability,
{_LOGIT} AS calibrated_logit, k.holds_at, k.sky_share
FROM scores s JOIN calibrations k ON k.generation = s.generation AND k.checkpoint_id = s.checkpoint_id
WHERE k.a IS NOT NULL) of_both"""
"""DuckDB and Spark understand it. Isotonic steps are left out: they are in `calibrations`."""
SPEC = ViewSpec(
    name="calibrated_scores",
    meaning="A scored cut-out with its calibrated probability, by each of the parametric calibrators",
    columns=(
        columns.GALAXY_ID,
        replace(columns.GENERATION, role="key"),
        columns.CHECKPOINT_ID,
        Column("method", "string", "the calibrator, see `calibrations`", role="key"),
        columns.SPLIT,
        Column("label", "int", "1 lens candidate, 0 negative", low=0, high=1),
        Column("score", "double", "raw logit"),
        Column("probability", "double", "logistic of the raw logit; not calibrated", low=0, high=1),
        columns.share("calibrated", "calibrated probability, where the fraction of lenses is `holds_at`"),
        columns.share("holds_at", "fraction of lenses in the fold of the calibrator"),
        columns.share("sky_probability", "calibrated probability, where it is `sky_share` (null: not declared)"),
        columns.share("sky_share", "declared fraction of lenses on the sky"),
    ),
)
